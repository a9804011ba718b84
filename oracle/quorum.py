"""Provider side of the quorum: ask every watcher at once, check each signature, stop at the threshold.

A watcher's word counts for nothing but its signature: who signed is recovered from it, and whether that is a
watcher of the class's set is asked of the chain. Refusals are kept with their reason.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from oracle import fetch
from oracle.facts import Facts
from oracle.logging import get
from oracle.outbox import Stopped
from oracle.settings import QuorumSettings
from oracle.store import Store
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash, recover
from scrip.errors import BadInput
from scrip.structs import to_bytes
from scrip.types import Receipt

ANSWER_BYTES: Final = 256 * 1024
LOOK_S: Final = 0.5

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A receipt to be co-signed, and where its evidence is."""

    receipt: Receipt
    bundle_url: str


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
class _Refusal:
    job_id: bytes
    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Reply:
    """One watcher's answer: a signature with its signer, refusals of rows, or a failure."""

    url: str
    signer: str = ""
    signature: bytes = b""
    refusals: tuple[_Refusal, ...] = ()
    failure: str = ""


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

    def collect(self, rows: Sequence[Row], watcher_set: int, *, batched: bool) -> Outcome:
        """Ask for signatures of `watcher_set`. Raises NodeUnavailable if the chain can't be asked who
        watches.
        """
        threshold = self._facts.threshold(watcher_set)
        message = self._digest(rows, batched)
        body = {
            "batched": batched,
            "rows": [{"bundle": row.bundle_url, "receipt": row.receipt.to_json()} for row in rows],
        }
        signed: dict[str, bytes] = {}
        refusals: list[tuple[str, _Refusal]] = []
        failures: list[str] = []
        for reply in self._replies(body, message, watcher_set):
            if reply.signature:
                signed[reply.signer] = reply.signature
                _log.info("co-signed", watcher=reply.signer, rows=len(rows))
            elif reply.refusals:
                refusals += [(reply.url, refusal) for refusal in reply.refusals]
                self._keep(reply)
            else:
                failures.append(reply.failure)
                _log.warning("watcher failed", watcher=fetch.origin(reply.url), reason=reply.failure)
            if 0 < threshold <= len(signed):
                break
        ordered = [signed[signer] for signer in sorted(signed, key=lambda address: int(address, 16))]
        hopeless = _hopeless(refusals, len(self._settings.watchers), threshold)
        return Outcome(tuple(ordered[:threshold]), threshold, hopeless, tuple(failures))

    def _digest(self, rows: Sequence[Row], batched: bool) -> bytes:
        receipts = [row.receipt for row in rows]
        return digest(receipts, self._facts.chain.chain_id, self._facts.verifier, batched=batched)

    def _replies(self, body: Mapping[str, Any], message: bytes, watcher_set: int) -> Iterator[_Reply]:
        """Replies as they come in, until all are here or the time is up."""
        urls = self._settings.watchers
        arrived: queue.SimpleQueue[_Reply | BaseException] = queue.SimpleQueue()

        def ask(url: str) -> None:
            try:
                arrived.put(self._ask(url, body, message, watcher_set))
            except Exception as error:  # handed over, and raised by the thread that waits
                arrived.put(error)

        for url in urls:
            # Daemon threads: a slow watcher that isn't needed any more must not keep the process alive.
            threading.Thread(target=ask, args=(url,), name="scrip-quorum", daemon=True).start()
        deadline = time.monotonic() + self._settings.timeout_s + fetch.CONNECT_S
        for _ in urls:
            reply = self._next(arrived, deadline)
            if reply is None:
                return
            if isinstance(reply, BaseException):
                raise reply
            yield reply

    def _next(
        self, arrived: queue.SimpleQueue[_Reply | BaseException], deadline: float
    ) -> _Reply | BaseException | None:
        """The next reply, None once the time is up. Raises Stopped."""
        while (left := deadline - time.monotonic()) > 0:
            if self._stopping.is_set():
                raise Stopped
            with suppress(queue.Empty):
                return arrived.get(timeout=min(left, LOOK_S))
        return None

    def _ask(self, url: str, body: Mapping[str, Any], message: bytes, watcher_set: int) -> _Reply:
        try:
            timeout_s = self._settings.timeout_s
            answer = fetch.post(f"{url}/cosign", body, limit=ANSWER_BYTES, timeout_s=timeout_s)
            found = json.loads(answer.body)
            if answer.status == 409:
                return _Reply(url, refusals=_refusals(found))
            if answer.status != 200:
                return _Reply(url, failure=f"HTTP {answer.status}: {str(found.get('error'))[:200]}")
            signature = to_bytes("signature", found["signature"])
            signer = recover(message, signature)
        except (fetch.FetchFailed, BadInput) as error:
            return _Reply(url, failure=str(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _Reply(url, failure=f"{fetch.origin(url)}: not an answer we know ({type(error).__name__})")
        if not self._facts.is_watcher(watcher_set, signer):
            return _Reply(url, failure=f"{signer} signed, who isn't in watcher set {watcher_set}")
        return _Reply(url, signer, signature)

    def _keep(self, reply: _Reply) -> None:
        for refusal in reply.refusals:
            watcher = fetch.origin(reply.url)
            _log.warning(
                "watcher refused", job="0x" + refusal.job_id.hex(), watcher=watcher, check=refusal.check,
                reason=refusal.reason,
            )  # fmt: skip
            self._store.add_refusal(refusal.job_id, watcher, refusal.check, refusal.reason)


def _refusals(found: Any) -> tuple[_Refusal, ...]:
    rows = found["refused"]
    if not isinstance(rows, list) or not rows:
        raise ValueError("no rows refused")
    return tuple(
        _Refusal(to_bytes("jobId", row["jobId"], 32), str(row["check"]), str(row["reason"])[:500])
        for row in rows
    )


def _hopeless(refusals: Sequence[tuple[str, _Refusal]], watchers: int, threshold: int) -> dict[bytes, str]:
    """Jobs refused by so many watchers that those left can't reach the threshold."""
    by_job: dict[bytes, dict[str, str]] = {}
    for url, refusal in refusals:
        by_job.setdefault(refusal.job_id, {})[url] = f"refused by {refusal.check}: {refusal.reason}"
    return {
        job_id: next(iter(reasons.values()))
        for job_id, reasons in by_job.items()
        if watchers - len(reasons) < max(1, threshold)
    }
