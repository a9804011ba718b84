"""Watcher side of the quorum: fetch the evidence, check it against the chain, run the job again if it is
drawn, and vote.

A vote is sealed first (`commit`) and opened only once enough other watchers have committed to theirs
(`reveal`), so that none can copy another; see `scrip.ballots`. A vote that passed is opened together with the
co-signature.

A receipt that passed once isn't reviewed again. A refusal holds for the evidence it was reached on: a damaged
copy of an honest bundle doesn't stain the receipt. A wrong output does: the provider signed that receipt, so
no other of this job is ever signed. Before any vote leaves, the watcher binds itself in its store to that one
receipt of the job, whatever a provider asks and however often it is restarted.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from eth_utils.crypto import keccak

from oracle import fetch
from oracle.ballot_box import Ballot, BallotBox, joint_evidence
from oracle.catalogue import Catalogue, Template
from oracle.claims import claims_of
from oracle.facts import Facts
from oracle.jobs.params import Params
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.outbox import DryRun
from oracle.quorum import digest
from oracle.receipt import HARDWARE
from oracle.rerun import Rerunner, Unable
from oracle.reviews import Binding, Reviewed, Reviews, Verdict, check_bound
from oracle.settings import WatcherSettings
from oracle.statements import Statements
from oracle.verify import CannotJudge, Reexecute, Rerun, VerifyRequest, verify_request
from scrip.ballots import SignedCommitment
from scrip.eip712 import Wallet, receipt_struct_hash, recover, sign
from scrip.errors import BadInput, BadSignature, EvidenceInvalid, Refused, ScripError
from scrip.evidence import Bundle
from scrip.signed_requests import SignedBy
from scrip.structs import ZERO_BYTES32
from scrip.types import JobTerms, Receipt

STRIPES: Final = 64
UNJUDGED: Final = 4_096
PASSING_CHECKS: Final = frozenset({"job.state", "receipt.time"})
"""Refused, but not for good: our node may lag. Nothing is voted on."""
PROVEN: Final = frozenset({"output.freivalds", "output.spots", "output.recompute"})
"""The provider signed a receipt for an output that isn't what the job gives."""

_log = get(__name__)


class RowsRefused(ScripError):
    """One or more rows aren't voted on: they are nothing a watcher of this class reviews, or not yet."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self.verdicts = tuple(verdicts)
        first = verdicts[0]
        super().__init__(f"{len(verdicts)} receipt(s) refused, the first by {first.check}: {first.reason}")


class TooEarly(ScripError):
    """A vote stays sealed until enough watchers have committed to theirs. Ask again with more commitments."""


@dataclass(frozen=True, slots=True)
class CosignRow:
    """A receipt to co-sign, the job's terms, and where its evidence is said to be."""

    receipt: Receipt
    terms: JobTerms
    bundle_url: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A vote and what it was worth: `cosignature` over the subject if it passed, otherwise None."""

    ballot: Ballot
    cosignature: bytes | None


class Watcher:
    """Reviews and votes. Safe to share between threads; `account` None is a dry run."""

    def __init__(
        self,
        *,
        facts: Facts,
        reviews: Reviews,
        box: BallotBox,
        statements: Statements,
        catalogue: Catalogue,
        rerunner: Rerunner | None,
        account: Wallet | None,
        settings: WatcherSettings,
        metrics: Metrics,
    ) -> None:
        """`rerunner` None never runs a job again."""
        self._facts, self._reviews, self._box, self._statements = facts, reviews, box, statements
        self._catalogue, self._rerunner, self._account = catalogue, rerunner, account
        self._auth = None if account is None else SignedBy(account, facts.chain.chain_id, facts.market)
        self._settings, self._metrics = settings, metrics
        self._locks = tuple(threading.Lock() for _ in range(STRIPES))
        self._unjudged: OrderedDict[bytes, str] = OrderedDict()

    # First round

    def commit(self, rows: Sequence[CosignRow], *, batched: bool, signature: bytes) -> SignedCommitment:
        """Review these receipts and commit to a vote. `signature` is the provider's over the same digest.

        Raises RowsRefused, Unable, BudgetSpent, BadInput, DryRun.
        """
        self._check_form(rows, batched)
        message = digest([row.receipt for row in rows], self._place[0], self._place[1], batched=batched)
        self._check_signer(rows, message, signature)
        reviewed = [self._review(row) for row in rows]
        early = [one.verdict for one in reviewed if one.verdict.check in PASSING_CHECKS]
        if early:
            raise RowsRefused(early)
        if self._account is None:
            raise DryRun(f"vote on {len(rows)} receipt(s)")
        known = self._box.known(message, joint_evidence(reviewed))
        if known is not None:
            return known.commitment
        if all(one.verdict.passed for one in reviewed):
            reviewed = self._bind(rows, reviewed)
        watcher_set = self._facts.class_terms(rows[0].terms.class_id).watcher_set
        ballot = self._box.cast(message, watcher_set, reviewed, self._account, self._account.address)
        self._metrics.cosigned.labels("committed").inc()
        return ballot.commitment

    @property
    def _place(self) -> tuple[int, str]:
        return self._facts.chain.chain_id, self._facts.verifier

    def _check_form(self, rows: Sequence[CosignRow], batched: bool) -> None:
        if not 1 <= len(rows) <= self._settings.max_rows or (not batched and len(rows) != 1):
            raise BadInput("rows", len(rows), f"1 to {self._settings.max_rows}, and one without a batch")
        if len({row.receipt.job_id for row in rows}) != len(rows):
            raise BadInput("rows", "a job twice", "different jobs")
        if len({row.terms.provider for row in rows}) != 1:
            raise BadInput("rows.terms.provider", "several", "one provider, who signs the batch")
        for row in rows:  # a job's id is the digest of its terms, so no event need be searched for
            if self._facts.job_id(row.terms) != row.receipt.job_id:
                raise BadInput(
                    "rows.terms", row.receipt.job_id, "the terms whose digest is the receipt's jobId"
                )
        if len({self._facts.class_terms(row.terms.class_id).watcher_set for row in rows}) != 1:
            raise BadInput("rows", "classes of several watcher sets", "one watcher set")

    def _check_signer(self, rows: Sequence[CosignRow], message: bytes, signature: bytes) -> None:
        """Only what its provider stands for is reviewed: a wrong receipt is then a proof against it."""
        provider = rows[0].terms.provider
        try:
            signer = recover(message, signature)
        except BadSignature as bad:
            signer = str(bad)
        oracle = self._facts.oracle(provider)
        if signer != oracle:
            reason = f"signed by {signer}, the oracle key of {provider} is {oracle}"
            raise RowsRefused([Verdict(row.receipt.job_id, False, "receipt.signer", reason) for row in rows])

    def _bind(self, rows: Sequence[CosignRow], reviewed: Sequence[Reviewed]) -> list[Reviewed]:
        """Bind ourselves to these receipts; those that something speaks against come back refused."""
        bindings = [
            Binding(
                row.receipt.job_id, one.receipt_hash, self._facts.class_terms(row.terms.class_id).sku,
                one.verdict.claims,
            )
            for row, one in zip(rows, reviewed, strict=True)
        ]  # fmt: skip
        against = self._reviews.bind(bindings, self._settings.gpu_overlap_s * 1000)
        return [
            replace(one, verdict=_refused(one.verdict.job_id, against[one.verdict.job_id]))
            if one.verdict.job_id in against
            else one
            for one in reviewed
        ]

    # Second round

    def reveal(self, subject: bytes, evidence: bytes, shown: Sequence[SignedCommitment]) -> Opened:
        """Open our vote, given the others' commitments to the same subject. Raises TooEarly, NotFound,
        DryRun, BadSignature.
        """
        ballot = self._box.find(subject, evidence)
        if self._account is None:
            raise DryRun("open a vote")
        committed = self._committed(ballot, shown, self._account.address)
        threshold = self._facts.threshold(ballot.watcher_set)
        enough = 0 < threshold <= committed
        late = ballot.age_ms >= self._settings.reveal_after_s * 1000
        if not enough and (ballot.passed or not late):
            raise TooEarly(f"{committed} of {threshold} watchers have committed to a vote on this")
        self._box.opened(ballot)
        self._metrics.cosigned.labels("signed" if ballot.passed else "refused").inc()
        return Opened(ballot, sign(subject, self._account) if ballot.passed else None)

    def _committed(self, ballot: Ballot, shown: Sequence[SignedCommitment], ourselves: str) -> int:
        """How many watchers of the set have sealed votes of their own on this, ourselves included."""
        own, watcher_set = ballot.commitment.commitment, ballot.watcher_set
        seals = {own.seal: ourselves}
        for signed in shown:
            if signed.commitment.subject != own.subject:
                raise BadInput("commitments", signed.commitment.subject, "about the subject asked for")
            signer = signed.signer(*self._place)
            if signer == ourselves or not self._facts.is_watcher(watcher_set, signer):
                continue
            if self._statements.note(signed, signer):
                seals.setdefault(signed.commitment.seal, signer)  # a copied seal counts for one of the two
        return len(set(seals.values())) if self._facts.is_watcher(watcher_set, ourselves) else 0

    def refusals(self, limit: int) -> list[dict[str, Any]]:
        """Why receipts were refused, newest first, each with the signed statement that says so."""
        return self._box.refusals(limit, self._settings.reveal_after_s * 1000)

    # Reviewing

    def _review(self, row: CosignRow) -> Reviewed:
        key = receipt_struct_hash(row.receipt)
        with self._locks[key[0] % STRIPES]:  # two equal requests at once: the second one waits for the answer
            passed = self._reviews.passed(key)
            if passed is not None:
                return passed
            bound = self._reviews.bound(row.receipt.job_id)
            try:
                check_bound(bound or key, key)
            except Refused as refused:
                return Reviewed(key, ZERO_BYTES32, _refused(row.receipt.job_id, refused))
            try:
                self._check_origin(row.bundle_url, row.terms.provider)
            except Refused as refused:  # no vote: a registration may be updated
                raise RowsRefused([_refused(row.receipt.job_id, refused)]) from refused
            raw = self._download(row.bundle_url)
            evidence = bytes(keccak(raw))
            known = self._reviews.find(key, evidence)
            if known is not None:
                return Reviewed(key, evidence, known)
            reviewed = Reviewed(key, evidence, self._judge(row, raw, evidence))
            verdict = reviewed.verdict
            if verdict.check not in PASSING_CHECKS:
                self._reviews.keep(row.terms.provider, reviewed, bind=verdict.check in PROVEN)
        _log.info(
            "reviewed", job="0x" + row.receipt.job_id.hex(), passed=verdict.passed, check=verdict.check,
            reason=verdict.reason,
        )  # fmt: skip
        return reviewed

    def _judge(self, row: CosignRow, raw: bytes, evidence: bytes) -> Verdict:
        if evidence in self._unjudged:
            raise Unable(self._unjudged[evidence])
        try:
            return self._verify(row, Bundle.decode(raw))
        except Refused as refused:
            return _refused(row.receipt.job_id, refused)
        except EvidenceInvalid as invalid:
            return _refused(row.receipt.job_id, Refused(invalid.detail, invalid.check))
        except CannotJudge as unclear:
            self._remember_unjudged(evidence, str(unclear))
            raise Unable(str(unclear)) from unclear

    def _remember_unjudged(self, evidence: bytes, why: str) -> None:
        """So that a provider that asks again doesn't make us run it again."""
        self._unjudged[evidence] = why
        while len(self._unjudged) > UNJUDGED:
            self._unjudged.popitem(last=False)

    def _check_origin(self, url: str, provider: str) -> None:
        """Bundles come from where the provider is registered, so that no one can send us elsewhere."""
        given, registered = fetch.origin(url), fetch.origin(self._facts.provider_uri(provider))
        allowed = {registered, *(fetch.origin(item) for item in self._settings.allowed_origins)} - {""}
        if given not in allowed:
            where = f"the provider is registered at {registered or 'none'}"
            raise Refused(f"evidence at {given or 'no URL'}, {where}", "bundle.origin")

    def _download(self, url: str) -> bytes:
        limits = self._settings
        try:
            return fetch.get(
                url, limit=limits.max_bundle_bytes, timeout_s=limits.fetch_timeout_s, auth=self._auth
            )
        except fetch.FetchFailed as failed:
            raise Unable(f"evidence can't be fetched: {failed}") from failed

    def _verify(self, row: CosignRow, bundle: Bundle) -> Verdict:
        """The challenge is drawn here, after provider and receipt have fixed the output."""
        state = self._facts.job(row.receipt.job_id)
        report = verify_request(
            VerifyRequest(
                bundle=bundle,
                receipt=row.receipt,
                facts=self._facts.job_facts(row.terms, state),
                now=self._facts.now(),
                catalogue=self._catalogue,
                reexecute=None if self._rerunner is None else self._runner(self._rerunner, row.terms),
                challenge=secrets.token_bytes(32),
                oracle=self._oracle(row),
            )
        )
        claims = claims_of(bundle.samples, report.usage.gpu_ms)
        return Verdict(row.receipt.job_id, True, checks=report.checks, claims=claims)

    def _oracle(self, row: CosignRow) -> str:
        """The provider's key, which the reports of its GPUs must name."""
        return self._facts.oracle(row.terms.provider) if row.receipt.assurance >= HARDWARE else ""

    def _runner(self, rerunner: Rerunner, terms: JobTerms) -> Reexecute:
        def rerun(job_id: bytes, template: Template, params: Params) -> Rerun | None:
            return rerunner.run(job_id, self._facts.risk(terms), template, params)

        return rerun


def _refused(job_id: bytes, refused: Refused) -> Verdict:
    return Verdict(job_id, False, refused.check, refused.reason)


def opened_json(opened: Opened) -> Mapping[str, Any]:
    """An opened vote as the API shows it."""
    signature = None if opened.cosignature is None else "0x" + opened.cosignature.hex()
    return opened.ballot.reveal.to_json() | {"findings": opened.ballot.findings, "cosignature": signature}
