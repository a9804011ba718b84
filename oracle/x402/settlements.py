"""Takes each payment through its steps, at most one at a time, and lets those who asked wait for it.

Whatever interrupts a step (the process dies, the node of the chain is away) leaves the payment where it is:
it is taken up again at the next pass of the daemon, which first looks at what the chain knows of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Final, Protocol

from oracle.dispatch import PAY
from oracle.logging import get
from oracle.models_x402 import PaymentRow
from oracle.outbox import Outbox
from oracle.store import LeadLost
from oracle.tasks import BENIGN, Tasks, is_passing
from oracle.x402.payments import ENDED, Kind, Order, Payments, Stage

LOOK_S: Final = 0.5
"""How often one who waits looks whether the node is stopping."""

_log = get(__name__)


class Steps(Protocol):
    """What a kind of payment takes."""

    def step(self, row: PaymentRow) -> PaymentRow | None:
        """Take the next step; None if there is nothing to do but wait. Raises as `Outbox.send`."""


class Settlements:
    """All payments of a node. Safe to share between threads."""

    def __init__(
        self,
        payments: Payments,
        steps: Mapping[Kind, Steps],
        tasks: Tasks,
        wait_s: float,
        stopping: threading.Event,
    ) -> None:
        """A request waits at most `wait_s` seconds."""
        self.payments, self._steps, self._tasks = payments, steps, tasks
        self._wait_s, self._stopping = wait_s, stopping
        self._changed = threading.Condition()
        self._running: set[bytes] = set()

    def settle(self, order: Order, check: Callable[[], int]) -> PaymentRow:
        """Settle a payment, or tell how far it is if that takes longer than a request may wait.

        `check` raises PaymentInvalid for one that must not be taken, and returns a block before which it
        wasn't; a payment that is known already isn't checked again. Raises PaymentConflict, LeadLost.
        """
        if self.payments.known(order) is None:
            self.payments.begin(order, check())
        return self.follow(order.payment_id)

    def follow(self, payment_id: bytes) -> PaymentRow:
        """Go on with a payment, wait for its outcome, and return it as it is then."""
        self._start(payment_id)
        deadline = time.monotonic() + self._wait_s
        with self._changed:
            while payment_id in self._running and not self._stopping.is_set():
                left = deadline - time.monotonic()
                if left <= 0 or Stage(self.payments.get(payment_id).stage).decided:
                    break
                self._changed.wait(min(left, LOOK_S))
        return self.payments.get(payment_id)

    def resume(self) -> None:
        """Go on with every payment that needs another step."""
        for payment_id in self.payments.unfinished():
            self._start(payment_id)

    def _start(self, payment_id: bytes) -> None:
        with self._changed:
            if payment_id in self._running or self._stopping.is_set():
                return
            self._running.add(payment_id)
            if not self._tasks.start(PAY, payment_id, partial(self._run, payment_id)):
                self._running.discard(payment_id)

    def _run(self, payment_id: bytes) -> None:
        try:
            row: PaymentRow | None = self.payments.get(payment_id)
            while row is not None and row.stage not in ENDED:
                row = self._steps[Kind(row.kind)].step(row)
                with self._changed:
                    self._changed.notify_all()
        except LeadLost:
            pass  # the node that leads goes on with it
        except Exception as error:
            if is_passing(error) or isinstance(error, BENIGN):
                raise
            # A stranger's payment must not end the node. It stays where it is, and is looked at again.
            _log.error("payment stuck", payment="0x" + payment_id.hex(), exc_info=error)
        finally:
            with self._changed:
                self._running.discard(payment_id)
                self._changed.notify_all()


class Fate(Enum):
    """What became of the transaction for an intent."""

    NONE = "none"
    """None was ever mined, and none can be: it may be sent."""
    OPEN = "open"
    """It may still be mined, isn't final, or was mined and the node doesn't show it: only time tells."""
    SUCCEEDED = "succeeded"
    REVERTED = "reverted"


def fate(outbox: Outbox, label: str, *, final: bool) -> tuple[Fate, bytes | None]:
    """What became of an intent, and the transaction's hash; `final` asks for what no reorganisation changes.

    Once mined it is never NONE again: a node that lags, or a reorganisation that puts it back into the pool,
    must not let it be sent a second time.
    """
    if outbox.recorded(label) is None:
        return (Fate.OPEN if outbox.outstanding(label) else Fate.NONE), None
    receipt = outbox.receipt(label)
    if receipt is None or (final and outbox.outstanding(label)):
        return Fate.OPEN, None
    done = Fate.SUCCEEDED if receipt["status"] == 1 else Fate.REVERTED
    return done, bytes(receipt["transactionHash"])
