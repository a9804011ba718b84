"""Provider side of the quorum: two rounds with all watchers at once, until a threshold has co-signed.

First every watcher commits to a vote without knowing the others'. Once the threshold has committed, each is
shown the others' commitments and opens its own; those that come later are opened as they come. Who signed is
recovered from the signature, and whether that is a watcher of the class's set is asked of the chain. A
watcher that is away, slow, silent or contradicts itself counts for nothing and holds up nobody but itself.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from oracle import fetch
from oracle.facts import Facts
from oracle.logging import get
from oracle.outbox import Stopped
from oracle.settings import QuorumSettings
from oracle.statements import Statements
from oracle.store import Store
from oracle.watcher_client import (
    REVEAL_S,
    AskFailed,
    Committed,
    Contradicted,
    Vote,
    WatcherClient,
)
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash
from scrip.errors import BadInput
from scrip.types import JobTerms, Receipt

LOOK_S: Final = 0.5
KEPT: Final = 500
"""Jobs without enough signatures whose last vote is remembered."""

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A receipt to be co-signed, the job's terms, and where its evidence is."""

    receipt: Receipt
    terms: JobTerms
    bundle_url: str

    def to_json(self) -> dict[str, Any]:
        """As watchers are asked."""
        return {"bundle": self.bundle_url, "receipt": self.receipt.to_json(), "terms": self.terms.to_json()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking. `signatures` are sorted by signer, at most `threshold`; `hopeless` are jobs
    that so many watchers refuse that the threshold is out of reach, with a reason each.
    """

    signatures: tuple[bytes, ...]
    threshold: int
    hopeless: Mapping[bytes, str]
    failures: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether the signatures prove assurance 2."""
        return 0 < self.threshold <= len(self.signatures)

    @property
    def reason(self) -> str:
        """Why it isn't enough, in one line."""
        refused = "; ".join(sorted(set(self.hopeless.values())))
        failed = "; ".join(self.failures)
        return f"{len(self.signatures)} of {self.threshold} watchers signed. {refused} {failed}".strip()


@dataclass(frozen=True, slots=True)
class Standing:
    """How the last vote about a job stands. `refused` holds reasons by watcher, `failures` what went wrong
    with whom, by origin; watchers that gave neither signature nor refusal are in none of them.
    """

    watcher_set: int
    threshold: int
    signed: frozenset[str]
    refused: Mapping[str, str]
    failures: tuple[str, ...]


def digest(rows: Sequence[Receipt], chain_id: int, verifier: str, *, batched: bool) -> bytes:
    """What provider and watchers sign for these receipts: the one receipt, or the list of their hashes."""
    if batched:
        return batch_digest([receipt_struct_hash(receipt) for receipt in rows], chain_id, verifier)
    if len(rows) != 1:
        raise BadInput("rows", len(rows), "exactly one without a batch")
    return receipt_digest(rows[0], chain_id, verifier)


class Quorum:
    """Asks the configured watchers. Safe to share between threads."""

    def __init__(
        self, settings: QuorumSettings, facts: Facts, store: Store, stopping: threading.Event | None = None
    ) -> None:
        """`stopping` cuts a wait for watchers short with Stopped."""
        self._settings, self._facts, self._store = settings, facts, store
        self._stopping = stopping or threading.Event()
        self._statements = Statements(store, facts.chain.chain_id, facts.verifier)
        self._lock = threading.Lock()
        self._last: OrderedDict[bytes, tuple[int, _Voting]] = OrderedDict()

    def standing(self, job_id: bytes) -> Standing | None:
        """The vote in progress about a job, or the last one if that wasn't enough; None without one."""
        with self._lock:
            found = self._last.get(job_id)
        return None if found is None else found[1].standing(found[0], job_id)

    def collect(self, rows: Sequence[Row], watcher_set: int, *, batched: bool, signature: bytes) -> Outcome:
        """Ask for co-signatures of `watcher_set`. `signature` is our own over the rows' digest.

        Raises NodeUnavailable if the chain can't be asked who watches.
        """
        threshold = self._facts.threshold(watcher_set)
        if threshold == 0:
            return Outcome((), 0, {}, (f"watcher set {watcher_set} isn't in force",))
        place = self._facts.chain.chain_id, self._facts.verifier
        subject = digest([row.receipt for row in rows], *place, batched=batched)
        body = {
            "batched": batched,
            "rows": [row.to_json() for row in rows],
            "signature": "0x" + signature.hex(),
        }
        clients = [WatcherClient(url, *place, self._settings.timeout_s) for url in self._settings.watchers]
        voting = _Voting(clients, threshold, self._statements, self._is_member(watcher_set), self._keep)
        self._remember([row.receipt.job_id for row in rows], watcher_set, voting)
        voting.run(body, subject, self._stopping)
        ordered = sorted(voting.votes.values(), key=lambda vote: int(vote.watcher, 16))
        signed = [vote.cosignature for vote in ordered if vote.cosignature]
        hopeless = _hopeless(ordered, len(clients), threshold)
        if len(signed) >= threshold:
            self._forget([row.receipt.job_id for row in rows])
        return Outcome(tuple(signed[:threshold]), threshold, hopeless, tuple(voting.failures.values()))

    def _remember(self, jobs: Sequence[bytes], watcher_set: int, voting: _Voting) -> None:
        with self._lock:
            for job in jobs:
                self._last[job] = watcher_set, voting
                self._last.move_to_end(job)
            while len(self._last) > KEPT:
                self._last.popitem(last=False)

    def _forget(self, jobs: Sequence[bytes]) -> None:
        with self._lock:
            for job in jobs:
                self._last.pop(job, None)

    def _is_member(self, watcher_set: int) -> Callable[[str], bool]:
        return lambda account: self._facts.is_watcher(watcher_set, account)

    def _keep(self, vote: Vote) -> None:
        if not vote.refusals:
            _log.info("co-signed", watcher=vote.watcher)
        for refusal in vote.refusals:
            _log.warning(
                "watcher refused", job="0x" + refusal.job_id.hex(), watcher=vote.watcher, check=refusal.check,
                reason=refusal.reason,
            )  # fmt: skip
            statement = json.dumps(vote.statement)
            where = fetch.origin(vote.url)
            self._store.add_refusal(refusal.job_id, where, refusal.check, refusal.reason, statement)


_Answer = Committed | Vote | AskFailed | BaseException


@dataclass(frozen=True, slots=True)
class _Arrived:
    """What a thread that asked `url` brings back; `watcher` is who was asked to open its vote, "" in the
    first round.
    """

    url: str
    watcher: str
    answer: _Answer


class _Voting:
    """One vote: who has committed, who was asked to open, what came."""

    def __init__(
        self,
        clients: Sequence[WatcherClient],
        threshold: int,
        statements: Statements,
        is_member: Callable[[str], bool],
        keep: Callable[[Vote], None],
    ) -> None:
        self._clients = {client.url: client for client in clients}
        self._threshold, self._statements = threshold, statements
        self._is_member, self._keep = is_member, keep
        self._arrived: queue.SimpleQueue[_Arrived] = queue.SimpleQueue()
        self._committed: dict[str, Committed] = {}
        self._shown: dict[str, int] = {}  # by watcher, how many commitments it was last shown
        self._opening: set[str] = set()
        self._barred: set[str] = set()  # have contradicted themselves
        self.votes: dict[str, Vote] = {}
        self.failures: dict[str, str] = {}

    def run(self, body: Mapping[str, Any], subject: bytes, stopping: threading.Event) -> None:
        """Both rounds, until the threshold has co-signed, all have answered or the time is up."""
        for client in self._clients.values():
            self._ask(client.url, "", partial(client.commit, body, subject))
        waiting = len(self._clients)
        timeout_s = max(client.timeout_s for client in self._clients.values()) if self._clients else 0
        deadline = time.monotonic() + timeout_s + fetch.CONNECT_S + REVEAL_S
        while (waiting or self._opening) and not self._enough:
            arrived = self._next(deadline, stopping)
            if arrived is None:
                return
            waiting -= not arrived.watcher
            self._take(arrived)
            if len(self._committed) >= self._threshold or not waiting:
                # Below the threshold too, once nobody else will commit: a refusal may be told by now.
                self._ask_to_open()

    def standing(self, watcher_set: int, job_id: bytes) -> Standing:
        """What has come so far. Called by other threads: each dictionary is copied in one step."""
        votes = tuple(self.votes.values())
        refused = {
            vote.watcher: f"{refusal.check}: {refusal.reason}"
            for vote in votes
            for refusal in vote.refusals
            if refusal.job_id == job_id
        }
        signed = frozenset(vote.watcher for vote in votes if vote.cosignature)
        return Standing(watcher_set, self._threshold, signed, refused, tuple(self.failures.values()))

    @property
    def _enough(self) -> bool:
        return sum(bool(vote.cosignature) for vote in self.votes.values()) >= self._threshold

    def _take(self, arrived: _Arrived) -> None:
        answer = arrived.answer
        self._opening.discard(arrived.watcher)
        if isinstance(answer, Committed):
            self._take_commitment(answer)
        elif isinstance(answer, Vote):
            self._take_vote(answer)
        elif isinstance(answer, AskFailed):
            self._take_failure(arrived.url, answer)
        else:
            raise answer

    def _take_vote(self, vote: Vote) -> None:
        if vote.watcher not in self._barred:
            self.failures.pop(vote.url, None)
            self.votes[vote.watcher] = vote
            self._keep(vote)

    def _take_commitment(self, given: Committed) -> None:
        name = fetch.origin(given.url)
        if not self._is_member(given.watcher):
            self._fail(given.url, f"{name}: {given.watcher} isn't in the watcher set")
        elif not self._statements.note(given.signed, given.watcher):
            self._bar(given.watcher)
            self._fail(given.url, f"{name}: {given.watcher} committed to two votes, the proof is kept")
        elif given.watcher in self._committed or given.watcher in self._barred:
            self._fail(given.url, f"{name}: {given.watcher} has voted already")
        else:
            self._committed[given.watcher] = given

    def _take_failure(self, url: str, failure: AskFailed) -> None:
        if isinstance(failure, Contradicted):
            self._statements.compare(failure.committed.signed, failure.reveal)
            self._bar(failure.committed.watcher)
        self._fail(url, str(failure))

    def _bar(self, watcher: str) -> None:
        """Count nothing of a watcher any more."""
        self._barred.add(watcher)
        self._committed.pop(watcher, None)
        self.votes.pop(watcher, None)

    def _fail(self, url: str, reason: str) -> None:
        self.failures[url] = reason
        _log.warning("watcher gives no vote", watcher=fetch.origin(url), reason=reason)

    def _ask_to_open(self) -> None:
        """Ask whoever hasn't opened, if there are more commitments to show than last time."""
        for watcher, own in self._committed.items():
            known = len(self._committed)
            busy = watcher in self._opening or watcher in self.votes
            if busy or self._shown.get(watcher, 0) >= known:
                continue
            self._shown[watcher] = known
            self._opening.add(watcher)
            others = [other for other in self._committed.values() if other is not own]
            self._ask(own.url, watcher, partial(self._clients[own.url].reveal, own, others))

    def _ask(self, url: str, watcher: str, work: Callable[[], _Answer]) -> None:
        def run() -> None:
            try:
                answer = work()
            except Exception as error:  # handed over, and raised by the thread that waits if it is a bug
                answer = error
            self._arrived.put(_Arrived(url, watcher, answer))

        # Daemon threads: a slow watcher that isn't needed any more must not keep the process alive.
        threading.Thread(target=run, name="scrip-quorum", daemon=True).start()

    def _next(self, deadline: float, stopping: threading.Event) -> _Arrived | None:
        """The next answer, None once the time is up. Raises Stopped."""
        while (left := deadline - time.monotonic()) > 0:
            if stopping.is_set():
                raise Stopped
            with suppress(queue.Empty):
                return self._arrived.get(timeout=min(left, LOOK_S))
        return None


def _hopeless(votes: Sequence[Vote], watchers: int, threshold: int) -> dict[bytes, str]:
    """Jobs refused by so many watchers that those left can't reach the threshold."""
    by_job: dict[bytes, list[str]] = {}
    for vote in votes:
        for refusal in vote.refusals:
            by_job.setdefault(refusal.job_id, []).append(f"refused by {refusal.check}: {refusal.reason}")
    return {job: reasons[0] for job, reasons in by_job.items() if watchers - len(reasons) < max(1, threshold)}
