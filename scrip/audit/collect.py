"""The lines of a file, made from the chain: settlements in its order, each after what was signed for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from scrip import sessions
from scrip.audit.authority import Authority
from scrip.audit.linked import attested_digest
from scrip.calls import signature
from scrip.chargeback.call_tokens import CallTokens
from scrip.chargeback.entry import BURNS, Entry, LedgerMismatch
from scrip.chargeback.facts import ChainFacts
from scrip.chargeback.ledger import SOURCES, Ledger
from scrip.eip712 import receipt_struct_hash, recover
from scrip.eip712_sessions import session_id, voucher_digest
from scrip.errors import BadInput, BadSignature
from scrip.logs import LogEvent, merged
from scrip.submissions import calldata, calls_in, receipts_of, submitting
from scrip.types import Attestation, Receipt
from scrip.types_spending import Claim, SessionTerms
from scrip.view import ChainView, terms_of

Line = dict[str, Any]
KEPT: Final = 64
"""Transactions whose calldata is remembered: rows of a batch follow each other."""


def lines(view: ChainView, authority: Authority, first: int) -> Iterator[Line]:
    """Settlements from block `first` to the view's, each attestation before the first line that names it.

    Without `previous`. An attestation comes again where a later call of `lines` needs it. Raises
    LedgerMismatch, ChainError.
    """
    chain, collector = view.chain, _Collector(view, authority)
    market, metered, reserve = map(chain.address, ("JobMarket", "MeteredSessions", "CreditReserve"))
    ledger = Ledger(market, metered, reserve, ChainFacts(view, CallTokens()))
    for event in merged(chain, SOURCES, first, view.block):
        collector.note(event)
        for entry in ledger.add(event):
            if entry.kind in BURNS:
                yield from collector.lines(entry, event)
    ledger.close()


@dataclass(frozen=True, slots=True)
class _Attested:
    """Receipts that were signed together, as some calldata has them."""

    hashes: list[str]
    receipts: dict[bytes, Receipt]
    batch: bool
    signatures: Attestation


@dataclass(slots=True)
class _Collector:
    """Keeps the events that a settlement's line is made of until it comes."""

    view: ChainView
    authority: Authority
    _events: dict[tuple[str, bytes], LogEvent] = field(default_factory=dict)
    _claims: dict[bytes, deque[LogEvent]] = field(default_factory=dict)
    _sessions: dict[bytes, SessionTerms] = field(default_factory=dict)
    _cumulative: dict[bytes, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _calldata: Any = None

    def __post_init__(self) -> None:
        chain = self.view.chain
        self._calldata = lru_cache(maxsize=KEPT)(lambda tx_hash: calldata(chain, tx_hash))

    def note(self, event: LogEvent) -> None:
        """Keep what later lines need of an event."""
        if event.name == "SessionOpened":
            session = bytes(event.args["sessionId"])
            self._sessions[session], self._cumulative[session] = sessions.terms_of(event), 0
        elif event.name == "SessionClaimed":
            self._claims.setdefault(bytes(event.args["sessionId"]), deque()).append(event)
        elif event.name in ("JobOpened", "JobSubmitted", "JobSettled"):
            self._events[event.name, bytes(event.args["jobId"])] = event
        elif event.name in ("JobRefunded", "JobCancelled", "JobExpired"):
            for name in ("JobOpened", "JobSubmitted"):
                self._events.pop((name, bytes(event.args["jobId"])), None)

    def lines(self, entry: Entry, event: LogEvent) -> Iterator[Line]:
        """The settlement of an entry, after its attestation if that wasn't told yet."""
        if entry.kind == "job":
            yield from self._job(entry)
        elif entry.kind == "session":
            yield self._session(entry)
        else:
            yield _settled(entry, event)

    # Jobs

    def _job(self, entry: Entry) -> Iterator[Line]:
        job = entry.ident
        settled, opened = self._events.pop(("JobSettled", job)), self._opening(job)
        found, submitted = self._attested(entry, settled)
        digest = None
        if found is not None:
            digest, line = self._attestation(found)
            if digest not in self._told:
                self._told.add(digest)
                yield line
        receipt = None if found is None else found.receipts[entry.receipt_hash].to_json()
        yield _settled(entry, settled) | {
            "provider": entry.counterparty, "job": _hex(job), "nonce": str(int(opened.args["nonce"])),
            "terms": terms_of(opened).to_json(), "receiptHash": _hex(entry.receipt_hash),
            "receipt": receipt, "submission": _place(submitted), "signed": digest,
        }  # fmt: skip

    def _opening(self, job: bytes) -> LogEvent:
        known = self._events.pop(("JobOpened", job), None)
        if known is not None:
            return known
        for event in self.view.events("JobMarket", "JobOpened", jobId=job):
            return event
        raise LedgerMismatch(f"job 0x{job.hex()} was never opened")

    def _attested(self, entry: Entry, settled: LogEvent) -> tuple[_Attested | None, LogEvent]:
        """What was signed for a job's receipt, and the event of its submission."""
        known = self._events.pop(("JobSubmitted", entry.ident), None)
        if known is None and (found := self._in_calldata(entry, settled)) is not None:
            return found, settled
        if known is None:
            for event in self.view.events("JobMarket", "JobSubmitted", jobId=entry.ident):
                known = event
        if known is None:
            return None, settled
        return self._in_calldata(entry, known), known

    def _in_calldata(self, entry: Entry, event: LogEvent) -> _Attested | None:
        """Of what the calldata holds for a receipt, what the oracle key of the time signed; None if nothing.

        Who sends a transaction can put anything beside the call that counts.
        """
        oracle = self.authority.oracle(entry.counterparty, (event.block, event.log_index))
        for found in self._candidates(event.tx_hash):
            ours = entry.receipt_hash in found.receipts
            if ours and _signer(self._digest(found), found.signatures.provider) == oracle:
                return found
        return None

    def _candidates(self, tx_hash: bytes) -> Iterator[_Attested]:
        for call, given in calls_in(self._calldata(tx_hash), submitting()):
            try:
                signed, receipts = Attestation.from_abi(given[-1]), receipts_of(call, given)
            except BadInput:
                continue
            by_hash = {receipt_struct_hash(receipt): receipt for receipt in receipts}
            hashes = [_hex(receipt_struct_hash(receipt)) for receipt in receipts]
            if hashes:
                yield _Attested(hashes, by_hash, call.name == "submitBatch", signed)

    def _digest(self, found: _Attested) -> bytes:
        chain = self.view.chain
        return attested_digest(found.hashes, found.batch, chain.chain_id, chain.address("ReceiptVerifier"))

    def _attestation(self, found: _Attested) -> tuple[str, Line]:
        message, given = self._digest(found), found.signatures
        # The market looks at no more watchers than it needs, so what follows them may be anything.
        watchers = [one for one in given.watchers if _signer(message, one) is not None]
        return _hex(message), {
            "type": "attestation", "digest": _hex(message), "batch": found.batch, "receipts": found.hashes,
            "provider": _signed(message, given.provider),
            "watchers": [_signed(message, one) for one in watchers],
        }  # fmt: skip

    # Sessions

    def _session(self, entry: Entry) -> Line:
        session = entry.ident
        claim = self._claims[session].popleft()
        terms = self._terms(session, claim)
        total = self._cumulative[session] = self._cumulative[session] + entry.units
        return _settled(entry, claim) | {
            "provider": entry.counterparty, "session": _hex(session), "terms": terms.to_json(),
            "cumulative": str(total), "voucher": self._voucher(session, terms, total, claim.tx_hash),
        }  # fmt: skip

    def _terms(self, session: bytes, before: LogEvent) -> SessionTerms:
        """Terms of a session; of one that was opened earlier also what was claimed of it before this log."""
        if session not in self._sessions:
            self._sessions[session] = sessions.find(self.view, session).terms
            claims = self.view.events("MeteredSessions", "SessionClaimed", sessionId=session)
            here = before.block, before.log_index
            earlier = (one for one in claims if (one.block, one.log_index) < here)
            self._cumulative[session] = sum(int(one.args["units"]) for one in earlier)
        return self._sessions[session]

    def _voucher(self, session: bytes, terms: SessionTerms, total: int, tx_hash: bytes) -> Line | None:
        """The voucher of the claim that made `total`, as the key signed it; else the first there is."""
        chain, first = self.view.chain, None
        where = chain.chain_id, chain.address("MeteredSessions")
        for claim in _claims_in(self._calldata(tx_hash)):
            if claim.units != total or session_id(claim.terms, *where) != session:
                continue
            message = voucher_digest(session, claim.authorised, *where)
            own = _signer(message, claim.signature) == terms.key
            found = {
                "authorised": str(claim.authorised), "signature": _hex(claim.signature), "contract": not own,
            }  # fmt: skip
            if own:
                return found
            first = first or found
        return first


def _claims_in(data: bytes) -> Iterator[Claim]:
    calls = signature("MeteredSessions", "claim"), signature("MeteredSessions", "claimBatch")
    for call, given in calls_in(data, calls):
        for row in given[1] if call.name == "claimBatch" else [given[0]]:
            try:
                yield Claim.from_abi(row)
            except BadInput:
                continue


def _settled(entry: Entry, event: LogEvent) -> Line:
    return _place(event) | {
        "type": entry.kind, "blockHash": _hex(event.block_hash), "time": str(entry.time),
        "class": str(entry.class_id), "payer": entry.account, "budget": str(entry.budget_id),
        "units": str(entry.units), "paid": str(entry.amount),
    }  # fmt: skip


def _place(event: LogEvent) -> Line:
    return {"block": str(event.block), "txHash": _hex(event.tx_hash), "logIndex": str(event.log_index)}


def _signed(message: bytes, given: bytes) -> Line:
    return {"signer": _signer(message, given), "signature": _hex(given)}


def _signer(message: bytes, given: bytes) -> str | None:
    """Who signed; None for a signature that isn't one."""
    try:
        return recover(message, given)
    except BadSignature:
        return None


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
