"""Verdicts on overcharging: a threshold of a class's arbiters signs what each has found itself.

Who has found an overcharge names its calls to the others. Each fetches and runs these again, and signs if it
finds as much; nobody signs for a call that it hasn't seen, and nothing is extrapolated to others. A verdict
is cumulative (`SessionAudits.penalise`): more that is found later takes the difference, and sending one twice
takes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from oracle import fetch
from oracle.audits.auditor import Auditor
from oracle.audits.book import AuditBook
from oracle.audits.odds import CREDITS, PENALTY
from oracle.facts import Facts
from oracle.logging import get
from oracle.outbox import Outbox
from oracle.settings_audits import AuditSettings
from scrip.eip712 import Wallet, recover, sign
from scrip.eip712_sessions import overcharge_digest, session_id
from scrip.errors import BadInput, BadSignature, Refused, Reverted
from scrip.structs import to_address, to_bytes, to_int
from scrip.types_spending import Overcharge, SessionTerms

CONTRACT: Final = "MeteredSessions"
MOST_CALLS: Final = 500
"""Calls of one verdict; the costliest are named."""
SIGN_PATH: Final = "/audits/sign"
_ANSWER_BYTES: Final = 65_536

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A verdict to sign: the session's terms, the units, who reports them, in which calls they were found,
    and the reporter's own signature over the verdict.
    """

    terms: SessionTerms
    units: int
    reporter: str
    calls: tuple[int, ...]
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "terms": self.terms.to_json(),
            "units": str(self.units),
            "reporter": self.reporter,
            "calls": list(self.calls),
            "signature": "0x" + self.signature.hex(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Asked:
        """Inverse of `to_json`. Raises BadInput."""
        names = ("terms", "units", "reporter", "calls", "signature")
        if set(data) != set(names):
            raise BadInput("request", sorted(data), f"an object with exactly {', '.join(names)}")
        calls, units = data["calls"], data["units"]
        if (
            not isinstance(calls, list)
            or not 1 <= len(calls) <= MOST_CALLS
            or any(type(number) is not int or not 0 <= number < 1 << 63 for number in calls)
            or len(set(calls)) != len(calls)
        ):
            raise BadInput("calls", calls, f"1 to {MOST_CALLS} different numbers of calls")
        if not isinstance(units, str) or not units.isdecimal():
            raise BadInput("units", units, "base units as decimal text")
        return cls(
            SessionTerms.from_json(data["terms"]),
            to_int("units", int(units), 128),
            to_address("reporter", data["reporter"]),
            tuple(calls),
            to_bytes("signature", data["signature"], 65),
        )


class Verdicts:
    """Signs others' verdicts, and has its own signed and sent. Safe to share between threads."""

    def __init__(
        self, facts: Facts, book: AuditBook, auditor: Auditor, outbox: Outbox, settings: AuditSettings,
        account: Wallet,
    ) -> None:  # fmt: skip
        self._facts, self._book, self._auditor, self._outbox = facts, book, auditor, outbox
        self._settings, self._account = settings, account
        self._place = facts.chain.chain_id, facts.chain.address(CONTRACT)

    def sign(self, asked: Asked) -> bytes:
        """Our signature, if we find in these calls what was found. Raises Refused, Unable, BudgetSpent,
        ReceiptWrong, BadInput.
        """
        terms, session = asked.terms, session_id(asked.terms, *self._place)
        if terms.class_id not in self._settings.classes:
            raise Refused(f"class {terms.class_id} isn't audited here", "audit.class")
        found = Overcharge(session, asked.units, asked.reporter)
        message = overcharge_digest(found, *self._place)
        if recover(message, asked.signature) != asked.reporter or not self._facts.judges(
            asked.reporter, terms.class_id
        ):
            raise Refused("signed by no watcher or arbiter of the class, who reports it", "audit.reporter")
        if not self._is_arbiter(terms.class_id, self._account.address):
            raise Refused(f"{self._account.address} is no arbiter of the class", "audit.arbiter")
        claimed = self._facts.finalized().session(session).claimed
        if not 0 < asked.units <= claimed:
            raise Refused(f"{asked.units} units, claimed were {claimed}", "audit.units")
        self._book.add(session, terms)
        ours = sum(self._auditor.recheck(session, terms, asked.calls, claimed).values())
        if asked.units > ours:
            raise Refused(f"{asked.units} units, we find {ours} in these calls", "audit.units")
        return sign(message, self._account)

    def pursue(self, session: bytes, terms: SessionTerms, claimed: int) -> None:
        """Have what we found signed, and send it, unless the chain has it already."""
        found = self._book.overcharged(session)
        calls = sorted(found, key=lambda number: (-found[number], number))[:MOST_CALLS]
        units = min(claimed, sum(found[number] for number in calls))
        label = f"overcharge 0x{session.hex()} {units}"
        if not units or self._outbox.outstanding(label) or self._is_taken(session, terms, units):
            return
        verdict = Overcharge(session, units, self._account.address)
        message = overcharge_digest(verdict, *self._place)
        own = sign(message, self._account)
        threshold = self._facts.threshold(self._facts.class_terms(terms.class_id).arbiter_set)
        signatures = self._collect(
            Asked(terms, units, verdict.reporter, tuple(calls), own), message, threshold
        )
        if not 0 < threshold <= len(signatures):
            _log.warning(
                "verdict lacks signatures", session="0x" + session.hex(), units=units, have=len(signatures),
                need=threshold,
            )  # fmt: skip
            return
        ordered = [signatures[signer] for signer in sorted(signatures, key=lambda one: int(one, 16))]
        try:
            self._outbox.send(
                label, CONTRACT, "penalise", terms.to_abi(), units, verdict.reporter, ordered[:threshold]
            )
        except Reverted as reverted:  # another was faster, or no stake is free now; asked again
            _log.warning("verdict reverts", session="0x" + session.hex(), reason=str(reverted))
            return
        _log.info("verdict sent", session="0x" + session.hex(), units=units, provider=terms.provider)

    def _collect(self, asked: Asked, message: bytes, threshold: int) -> dict[str, bytes]:
        """Signatures by arbiter; asks no more of them than are needed."""
        class_id, signatures = asked.terms.class_id, dict[str, bytes]()
        if self._is_arbiter(class_id, asked.reporter):
            signatures[asked.reporter] = asked.signature
        for url in self._settings.arbiters:
            if len(signatures) >= threshold:
                break
            try:
                signature = self._ask(url, asked)
                signer = recover(message, signature)
            except (Refused, BadSignature, fetch.FetchFailed) as error:
                _log.warning("arbiter doesn't sign", url=fetch.origin(url), reason=str(error))
                continue
            if self._is_arbiter(class_id, signer):
                signatures[signer] = signature
        return signatures

    def _ask(self, url: str, asked: Asked) -> bytes:
        answer = fetch.post(
            f"{url}{SIGN_PATH}", asked.to_json(), limit=_ANSWER_BYTES, timeout_s=self._settings.sign_s
        )
        try:
            found = json.loads(answer.body)
            if answer.status == 200:
                return to_bytes("signature", found["signature"], 65)
            raise Refused(str(found["error"]["message"]), "arbiter")
        except (ValueError, KeyError, TypeError, RecursionError, BadInput):
            raise Refused(f"answered {answer.status} without a signature", "arbiter") from None

    def _is_arbiter(self, class_id: int, account: str) -> bool:
        arbiters = self._facts.class_terms(class_id).arbiter_set
        return bool(arbiters) and self._facts.is_watcher(arbiters, account)

    def _is_taken(self, session: bytes, terms: SessionTerms, units: int) -> bool:
        """Whether verdicts have taken already what this one would: at the head, since it only prevents."""
        class_ = self._facts.class_terms(terms.class_id)
        behind = -(-units * class_.stake_per_million // (CREDITS * int(10**class_.decimals)))
        return self._facts.chain.at().penalty(session) >= PENALTY * behind
