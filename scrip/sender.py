"""The only code of this project that sends transactions.

Order of every send: simulate, sign, record in the journal, broadcast, wait. A version is recorded before any
node sees it, so after a crash `reconcile` finds each transaction on chain or still valid, or proves it dead.
Once recorded, an intent keeps its nonce: it is never sent under another one until another transaction is
known to have used up the first, so it can't happen twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from web3.contract.contract import ContractFunction
from web3.types import Nonce, TxReceipt

from scrip import fees
from scrip.broadcast import Answer, broadcast
from scrip.calls import Call
from scrip.chain import Chain
from scrip.errors import (
    BadInput,
    ChainError,
    NodeDeclined,
    NodeUnavailable,
    NotFound,
    Reverted,
    TxLost,
    TxRejected,
    TxUnknown,
)
from scrip.journal import Journal, TxOutcome, TxRecord
from scrip.structs import to_address

MAX_GAS = 16_777_216
"""Most gas a transaction may ask for (https://eips.ethereum.org/EIPS/eip-7825)."""

GAS_MARGIN_PERCENT = 20
RESENDS = 2
"""How often `send` starts anew after its nonce was provably taken by another transaction."""

_LONG_AGO = float("-inf")
_FLIGHTS_KEPT = 64

__all__ = [
    "LOCAL_POLICY",
    "MAX_GAS",
    "Call",
    "Reconciled",
    "SendPolicy",
    "Sender",
    "Signer",
]

_log = logging.getLogger(__name__)


class Signer(Protocol):
    """What the sender needs of an account; eth_account's LocalAccount has it, a remote signer can."""

    @property
    def address(self) -> Any:
        """Checksum address."""
        ...

    def sign_transaction(self, transaction_dict: Any) -> Any:
        """Signed transaction with `raw_transaction` and `hash`."""
        ...


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """How to wait. Times in seconds; `max_fee` is a ceiling in wei per gas, None for none.

    `confirmations` is how many blocks must lie on top of a receipt's before it counts.
    """

    poll: float = 1.0
    stuck_after: float = 60.0
    give_up_after: float = 900.0
    confirmations: int = 0
    max_fee: int | None = None


LOCAL_POLICY = SendPolicy(poll=0.05, stuck_after=10.0, give_up_after=120.0)
"""For development chains, which mine at once."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What `reconcile` found out about one intent. `receipt` is there if a version was mined."""

    label: str
    nonce: int
    outcome: TxOutcome
    hashes: tuple[bytes, ...]
    receipt: TxReceipt | None = None


@dataclass(slots=True)
class _Flight:
    """What this process knows of a nonce: when its newest version was sent, and whether that surely arrived.

    Kept after the nonce is closed: another thread may still wait for it and needs all its versions.
    """

    sent_at: float
    arrived: bool
    versions: tuple[TxRecord, ...]


class Sender:
    """Sends transactions of one account. Threads may share it; processes take turns by a shared journal."""

    def __init__(
        self,
        chain: Chain,
        account: Signer,
        journal: Journal,
        policy: SendPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.chain, self.account, self.journal = chain, account, journal
        self.address = to_address("account", account.address)
        self.policy = policy or SendPolicy()
        self._clock, self._sleep = clock, sleep
        self._lock = threading.RLock()
        self._flights: dict[int, _Flight] = {}
        self._reconciled = False

    def send(self, call: ContractFunction | Call, *, label: str, value: int = 0) -> TxReceipt:
        """Send `call`, wait for it and return its receipt. `value` is wei sent with a contract function.

        Raises Reverted if it would revert (nothing was sent) or did on chain (`tx_hash` is set), TxRejected
        if the node refuses it, TxUnknown if it is neither mined nor dead in time (it stays in the journal),
        TxLost if other transactions keep taking its nonce. After any other error nothing was sent.
        """
        wanted = call if isinstance(call, Call) else Call.of(call, value)
        if not self._reconciled:
            self.reconcile()
        resends = RESENDS
        while True:
            gas = self._check(wanted)
            with self._exclusive():
                record = self._sign(label, wanted, gas, self._next_nonce(), self._fees())
                self._launch(record)
            try:
                return self._wait(record.nonce, (record,))
            except TxLost:
                # Proven dead, so sending anew can't do it twice; the simulation runs again first.
                if resends == 0:
                    raise
                resends -= 1

    def simulate(self, call: ContractFunction | Call, *, value: int = 0) -> bytes:
        """What `call` would return to this account in the block to come. Raises Reverted."""
        wanted = call if isinstance(call, Call) else Call.of(call, value)
        return self.chain.call(wanted.params(self.address), "pending")

    def follow(self, nonce: int) -> TxReceipt:
        """Wait for an open transaction of the journal, replacing it if stuck. Raises as `send`; NotFound."""
        versions = self._open().get(nonce)
        if not versions:
            raise NotFound("open transaction with nonce", nonce)
        return self._wait(nonce, versions)

    def reconcile(self) -> list[Reconciled]:
        """Find out what became of every open transaction, and close those that are decided.

        A version on chain: MINED or REVERTED. Nonce used up by another transaction: LOST, and the caller
        decides. Otherwise PENDING: the newest version is handed to the node again; `follow` waits for
        it. Call it at start; `send` does if nobody has. Raises NodeUnavailable or NodeDeclined.
        """
        with self._exclusive():
            found = [self._reconcile(nonce, versions) for nonce, versions in self._open().items()]
            self._reconciled = True
        for item in found:
            _log.info("reconciled %s nonce %d: %s", item.label, item.nonce, item.outcome.value)
        return found

    # Before sending

    def _check(self, call: Call) -> int:
        """Gas limit for the call. Raises Reverted if it reverts, BadInput if it can't fit a transaction."""
        params = call.params(self.address)
        # In the block to come: it has its own time, and what this account has in flight before it.
        self.chain.call(params, "pending")
        estimate = self.chain.estimate_gas(params)
        if estimate > MAX_GAS:
            raise BadInput("gas", estimate, f"at most {MAX_GAS} (EIP-7825)", "Split the batch")
        return min(MAX_GAS, estimate * (100 + GAS_MARGIN_PERCENT) // 100 + call.spare_gas)

    def _next_nonce(self) -> int:
        """Lowest nonce that neither the chain, the node's pool nor an open record uses."""
        taken = self._open()
        nonce = self.chain.nonce(self.address, "pending")
        while nonce in taken:
            nonce += 1
        return nonce

    def _fees(self) -> fees.Fees:
        return fees.capped(fees.current(self.chain), self.policy.max_fee)

    def _sign(self, label: str, call: Call, gas: int, nonce: int, price: fees.Fees) -> TxRecord:
        signed = self.account.sign_transaction(
            {
                "type": 2, "chainId": self.chain.chain_id, "nonce": Nonce(nonce), "to": call.to,
                "data": call.data, "value": call.value, "gas": gas, "maxFeePerGas": price.max_fee,
                "maxPriorityFeePerGas": price.priority_fee,
            }
        )  # fmt: skip
        return TxRecord(
            label=label, chain_id=self.chain.chain_id, sender=self.address, nonce=nonce,
            tx_hash=bytes(signed.hash), raw=bytes(signed.raw_transaction),
            to=call.to, data=call.data, value=call.value, gas=gas,
            max_fee=price.max_fee, priority_fee=price.priority_fee,
        )  # fmt: skip

    # Sending

    def _launch(self, record: TxRecord) -> None:
        """Record and broadcast the first version. Raises TxRejected, with its nonce free again."""
        self.journal.record(record)
        answer, detail = self._hand_over(record, (record,))
        if answer is Answer.REFUSED:
            # It never was in any pool, and only this process has the signed bytes.
            self._close(record.nonce, TxOutcome.REJECTED)
            raise TxRejected(record.label, detail)

    def _hand_over(self, record: TxRecord, versions: Sequence[TxRecord]) -> tuple[Answer, str]:
        answer, detail = broadcast(self.chain.w3, record.raw)
        named = (record.label, record.nonce, record.tx_hash.hex())
        _log.info("%s nonce %d 0x%s: %s %s", *named, answer.value, detail)
        before, sent_at = self._flights.get(record.nonce), self._clock()
        if answer is Answer.UNDERPRICED:
            sent_at = _LONG_AGO  # replaced at the next look instead of after `stuck_after`
        elif before is not None and before.versions[-1].tx_hash == record.tx_hash:
            sent_at = before.sent_at
        self._flights[record.nonce] = _Flight(sent_at, answer is not Answer.UNKNOWN, tuple(versions))
        self._flights.pop(record.nonce - _FLIGHTS_KEPT, None)
        return answer, detail

    def _replace(self, record: TxRecord, versions: tuple[TxRecord, ...]) -> None:
        """Record and broadcast a version with a higher fee, unless the ceiling is reached."""
        wanted = fees.replacement(fees.Fees(record.max_fee, record.priority_fee), self._fees())
        price = fees.capped(wanted, self.policy.max_fee)
        bump = fees.Fees(fees.bumped(record.max_fee), fees.bumped(record.priority_fee))
        if price.max_fee < bump.max_fee or price.priority_fee < bump.priority_fee:
            _log.warning("%s nonce %d is stuck at the fee ceiling", record.label, record.nonce)
            self._hand_over(record, versions)
            self._flights[record.nonce].sent_at = self._clock()
            return
        call = Call(record.to, record.data, record.value)
        newer = self._sign(record.label, call, record.gas, record.nonce, price)
        self.journal.record(newer)
        self._hand_over(newer, (*versions, newer))

    # Waiting

    def _wait(self, nonce: int, versions: tuple[TxRecord, ...]) -> TxReceipt:
        deadline = self._clock() + self.policy.give_up_after
        was_dead = False
        while True:
            try:
                receipt, dead = self._look(nonce, versions)
                if receipt is None and not dead and self._due(nonce):
                    self._nudge(nonce)
            except (NodeUnavailable, NodeDeclined) as error:
                receipt, dead = None, False
                _log.warning("%s nonce %d: %s", versions[0].label, nonce, error)
            versions = self._versions(nonce, versions)
            if receipt is not None:
                return self._conclude(versions, receipt)
            # Said twice, a poll apart: a node may show a block's nonces before its receipts.
            if dead and was_dead:
                self._close(nonce, TxOutcome.LOST)
                raise TxLost(versions[0].label, nonce, [tx.tx_hash for tx in versions])
            was_dead = dead
            if self._clock() >= deadline:
                raise TxUnknown(versions[0].label, nonce, [tx.tx_hash for tx in versions])
            self._sleep(self.policy.poll)

    def _versions(self, nonce: int, known: tuple[TxRecord, ...]) -> tuple[TxRecord, ...]:
        """All versions of a nonce. Another thread may have added some, and closed them in the journal."""
        with self._lock:
            flight = self._flights.get(nonce)
            return flight.versions if flight is not None else known

    def _recorded(self, nonce: int, known: tuple[TxRecord, ...]) -> tuple[TxRecord, ...]:
        """The same, with what another process of this account has recorded for the same intent."""
        mine = self._versions(nonce, known)
        hashes, intent = {tx.tx_hash for tx in mine}, _intent(mine[0])
        kept = self.journal.versions(self.chain.chain_id, self.address, nonce)
        return (*mine, *(tx for tx in kept if _intent(tx) == intent and tx.tx_hash not in hashes))

    def _look(self, nonce: int, versions: tuple[TxRecord, ...]) -> tuple[TxReceipt | None, bool]:
        """The receipt of whichever version was mined and is deep enough; whether all are dead for good."""
        receipt = self._mined(versions)
        if receipt is None:
            if self.chain.nonce(self.address, self.chain.finalized()) <= nonce:
                return None, False
            # Used up for good. One of ours may have been mined since, or one that somebody else added.
            receipt = self._mined(self._recorded(nonce, versions))
        if receipt is None:
            return None, True
        wanted = self.policy.confirmations
        deep = wanted == 0 or self.chain.head() - receipt["blockNumber"] >= wanted
        return (receipt if deep else None), False

    def _mined(self, versions: Sequence[TxRecord]) -> TxReceipt | None:
        receipts = (self.chain.receipt(record.tx_hash) for record in reversed(versions))
        return next((receipt for receipt in receipts if receipt is not None), None)

    def _due(self, nonce: int) -> bool:
        flight = self._flights.get(nonce)
        if flight is None or not flight.arrived:
            return True
        return self._clock() - flight.sent_at >= self.policy.stuck_after

    def _nudge(self, nonce: int) -> None:
        """Hand over again what may not have arrived, and replace what is stuck, up to this nonce."""
        with self._exclusive():
            mined = self.chain.nonce(self.address)
            for blocking, versions in self._open().items():
                if not mined <= blocking <= nonce or not self._due(blocking):
                    continue
                flight = self._flights.get(blocking)
                if flight is None or not flight.arrived:
                    self._hand_over(versions[-1], versions)
                else:
                    self._replace(versions[-1], versions)

    # Afterwards

    def _reconcile(self, nonce: int, versions: tuple[TxRecord, ...]) -> Reconciled:
        label, hashes = versions[0].label, tuple(tx.tx_hash for tx in versions)
        receipt, dead = self._look(nonce, versions)
        if receipt is not None:
            outcome = TxOutcome.MINED if receipt["status"] == 1 else TxOutcome.REVERTED
            self._close(nonce, outcome, bytes(receipt["transactionHash"]))
            return Reconciled(label, nonce, outcome, hashes, receipt)
        if dead:
            self._close(nonce, TxOutcome.LOST)
            return Reconciled(label, nonce, TxOutcome.LOST, hashes)
        if self.chain.nonce(self.address) <= nonce:
            self._hand_over(versions[-1], versions)
        return Reconciled(label, nonce, TxOutcome.PENDING, hashes)

    def _conclude(self, versions: Sequence[TxRecord], receipt: TxReceipt) -> TxReceipt:
        nonce, tx_hash = versions[0].nonce, bytes(receipt["transactionHash"])
        if receipt["status"] == 1:
            self._close(nonce, TxOutcome.MINED, tx_hash)
            return receipt
        self._close(nonce, TxOutcome.REVERTED, tx_hash)
        known = self._recorded(nonce, tuple(versions))
        raise self._explain(next(tx for tx in known if tx.tx_hash == tx_hash), receipt)

    def _explain(self, record: TxRecord, receipt: TxReceipt) -> Reverted:
        """Why a mined transaction reverted, by calling it again on the state around its block."""
        params = Call(record.to, record.data, record.value).params(self.address)
        params["gas"] = record.gas
        # After its block first: what beat it to the chain is often in the same block. Then before it.
        for block in (receipt["blockNumber"], receipt["blockNumber"] - 1):
            try:
                self.chain.call(params, block)
            except Reverted as error:
                return Reverted(error.name, error.params, record.tx_hash)
            except ChainError:
                continue
        if receipt["gasUsed"] >= record.gas:
            return Reverted("OutOfGas", {"gas": record.gas}, record.tx_hash)
        return Reverted("Unknown", {"block": receipt["blockNumber"]}, record.tx_hash)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Alone with this account's nonces, among threads and among processes with the same journal."""
        with self._lock, self.journal.exclusive(self.chain.chain_id, self.address):
            yield

    def _open(self) -> dict[int, tuple[TxRecord, ...]]:
        """Open versions by nonce, ascending; within a nonce the newest, which pays most, is last."""
        found = self.journal.open_records(self.chain.chain_id, self.address)
        records = sorted(found, key=lambda tx: (tx.nonce, tx.max_fee))
        return {nonce: tuple(group) for nonce, group in groupby(records, key=lambda tx: tx.nonce)}

    def _close(self, nonce: int, outcome: TxOutcome, tx_hash: bytes | None = None) -> None:
        self.journal.resolve(self.chain.chain_id, self.address, nonce, outcome, tx_hash)


def _intent(tx: TxRecord) -> tuple[str, str, bytes, int]:
    """What all versions of a transaction have in common, beside the nonce."""
    return tx.label, tx.to, tx.data, tx.value
