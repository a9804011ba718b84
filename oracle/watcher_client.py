"""One watcher as a provider asks it. Its word counts for nothing but its signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oracle import fetch
from scrip.ballots import SignedCommitment, SignedReveal, findings_hash, opens
from scrip.eip712 import recover
from scrip.errors import BadInput, ScripError
from scrip.structs import to_bytes

ANSWER_BYTES: Final = 4 * 1024 * 1024
REVEAL_S: Final = 15
"""Most time for the second round, in which nothing is reviewed."""
_TOO_EARLY: Final = 425
_SHOWN: Final = 200


class AskFailed(ScripError):
    """A watcher gave no vote that counts: no answer, or none that we could make out."""


class SaidTooEarly(AskFailed):
    """A watcher wants to see more commitments before it opens its vote."""


class Contradicted(AskFailed):
    """A watcher opened another vote than it had committed to. `reveal` is what it signed."""

    def __init__(self, committed: Committed, reveal: SignedReveal) -> None:
        self.committed, self.reveal = committed, reveal
        super().__init__(f"{committed.watcher} opened another vote than it had committed to")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that a watcher refused, and why."""

    job_id: bytes
    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A watcher's commitment, and who it is."""

    url: str
    watcher: str
    signed: SignedCommitment


@dataclass(frozen=True, slots=True)
class Vote:
    """An opened vote: a co-signature, or refusals. `statement` is the signed reveal with its findings."""

    url: str
    watcher: str
    cosignature: bytes
    refusals: tuple[Refusal, ...]
    statement: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WatcherClient:
    """A watcher's URL, the chain and verifier its signatures are for, and how long it may review, seconds."""

    url: str
    chain_id: int
    verifier: str
    timeout_s: int

    def commit(self, body: Mapping[str, Any], subject: bytes) -> Committed:
        """Its commitment to a vote on `subject`. Raises AskFailed."""
        found = self._post("/commitments", body, self.timeout_s)
        try:
            signed = SignedCommitment.from_json(found)
            if signed.commitment.subject != subject:
                raise AskFailed(f"{self._name}: committed to something else than it was asked for")
            return Committed(self.url, signed.signer(self.chain_id, self.verifier), signed)
        except BadInput as bad:
            raise AskFailed(f"{self._name}: {bad}") from bad

    def reveal(self, own: Committed, others: Sequence[Committed]) -> Vote:
        """Its vote, shown the others' commitments. Raises SaidTooEarly, Contradicted, AskFailed."""
        told = own.signed.commitment
        body = {
            "subject": "0x" + told.subject.hex(),
            "evidence": "0x" + told.evidence.hex(),
            "commitments": [other.signed.to_json() for other in others],
        }
        found = self._post("/reveals", body, min(self.timeout_s, REVEAL_S))
        try:
            return self._vote(own, found)
        except BadInput as bad:
            raise AskFailed(f"{self._name}: {bad}") from bad
        except (KeyError, TypeError, ValueError) as error:
            raise AskFailed(f"{self._name}: not an answer we know ({type(error).__name__})") from error

    def _vote(self, own: Committed, found: Mapping[str, Any]) -> Vote:
        signed = SignedReveal.from_json({name: found[name] for name in ("reveal", "signature")})
        if signed.signer(self.chain_id, self.verifier) != own.watcher:
            raise AskFailed(f"{self._name}: the vote isn't signed by {own.watcher}, who committed to it")
        if not opens(signed.reveal, own.signed.commitment, own.watcher):
            raise Contradicted(own, signed)
        findings = found["findings"]
        if findings_hash(findings) != signed.reveal.findings:
            raise AskFailed(f"{self._name}: the findings aren't those it signed")
        refusals = tuple(
            Refusal(to_bytes("jobId", row["jobId"], 32), str(row["check"]), str(row["reason"]))
            for row in findings["rows"]
            if not row["passed"]
        )
        statement = signed.to_json() | {"findings": findings}
        if refusals:
            return Vote(self.url, own.watcher, b"", refusals, statement)
        cosignature = to_bytes("cosignature", found["cosignature"])
        signer = recover(own.signed.commitment.subject, cosignature)
        if signer != own.watcher:
            raise AskFailed(
                f"{self._name}: {own.watcher} says it passed, and the co-signature is by {signer}"
            )
        return Vote(self.url, own.watcher, cosignature, (), statement)

    @property
    def _name(self) -> str:
        return fetch.origin(self.url)

    def _post(self, path: str, body: Mapping[str, Any], timeout_s: int) -> Mapping[str, Any]:
        try:
            answer = fetch.post(self.url + path, body, limit=ANSWER_BYTES, timeout_s=timeout_s)
            found = json.loads(answer.body)
        except fetch.FetchFailed as failed:
            raise AskFailed(str(failed)) from failed
        except (ValueError, RecursionError) as bad:
            raise AskFailed(f"{self._name}: not JSON") from bad
        if not isinstance(found, dict):
            raise AskFailed(f"{self._name}: not an object")
        if answer.status == 200:
            return found
        error = found.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        said = f"{self._name}: HTTP {answer.status}: {str(message)[:_SHOWN]}"
        raise SaidTooEarly(said) if answer.status == _TOO_EARLY else AskFailed(said)
