"""Which of several nodes on one database acts: one leads, the others stand by.

The lead is a row. Its `epoch` grows with every change of lead, and every transaction of a provider's store
first reads it, in the lock of all writers: a node that was stopped, cut off or slow and has lost the lead
meanwhile can write nothing more. As each step is stored before its effect, it can do nothing more either. It
ends, and starts again as one that stands by: nothing it remembers is used again.

A node that stands by watches the leader's `beat`. It takes over once the beat has stood still for `lease_s`
by its own monotonic clock; no clocks are compared, so none can be wrong.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from oracle.logging import get
from oracle.models import LeadRow
from oracle.store import NOBODY, LeadLost, Store

BEATS: Final = 5
"""Signs of life in the time after which a leader counts as gone."""

_log = get(__name__)


class Lead:
    """This node's part in it. Makes `store` refuse to write until the node leads.

    `node` names this node and no other, for good: who has its state folder is the only one of that name, so
    it takes up at once what an earlier process of its own left.
    """

    def __init__(
        self, store: Store, node: str, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._node, self._lease_s, self._clock = store, node, lease_s, clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._since = 0.0
        self._ended, self._lost = threading.Event(), threading.Event()
        self._beats: threading.Thread | None = None
        store.epoch = NOBODY

    def leads(self) -> bool:
        """Whether this node may act. Takes the lead if nobody has it.

        Raises LeadLost once it was taken from us, and the database's error if that is away.
        """
        with self._lock:
            if self._lost.is_set():
                raise LeadLost(self._node, self._leader())
            return self._store.epoch != NOBODY or self._take()

    def check(self) -> str:
        """For readiness: which epoch this node leads in. Raises LeadLost if it doesn't."""
        if self._lost.is_set() or self._store.epoch == NOBODY:
            raise LeadLost(self._node, self._leader())
        return f"leads in epoch {self._store.epoch}"

    def release(self) -> None:
        """Let another node act at once. If the database is away it takes over after `lease_s`."""
        self._ended.set()
        if self._beats is not None:
            self._beats.join()
        with self._lock:
            epoch, self._store.epoch = self._store.epoch, NOBODY
        if epoch in (None, NOBODY):
            return
        try:
            with self._store.writing(led=False) as session:
                session.execute(update(LeadRow).where(LeadRow.epoch == epoch).values(node=""))
        except SQLAlchemyError as error:
            _log.warning("lead not released", reason=type(error).__name__)

    def _leader(self) -> str:
        with self._store.reading() as session:
            return session.scalars(select(LeadRow)).one().node

    def _take(self) -> bool:
        # Forgotten if the look fails: time in which nobody could give a sign of life doesn't count.
        seen, self._seen = self._seen, None
        with self._store.reading() as session:
            row = session.scalars(select(LeadRow)).one()
        self._seen = (row.epoch, row.beat)
        if row.node not in ("", self._node):
            if self._seen != seen:
                self._since = self._clock()
                if seen is None:
                    _log.info("standing by", leader=row.node, epoch=row.epoch)
                return False
            if self._clock() - self._since < self._lease_s:
                return False
        return self._step_up(self._seen, row.node)

    def _step_up(self, seen: tuple[int, int], leader: str) -> bool:
        with self._store.writing(led=False) as session:
            row = session.scalars(select(LeadRow).with_for_update()).one()
            if (row.epoch, row.beat) != seen:
                return False
            row.epoch, row.beat, row.node = row.epoch + 1, 0, self._node
        self._store.epoch = row.epoch
        self._beats = threading.Thread(
            target=self._beat_on, args=(row.epoch,), name="scrip-lead", daemon=True
        )
        self._beats.start()
        _log.info("leads", epoch=row.epoch, before=leader)
        return True

    def _beat_on(self, epoch: int) -> None:
        while not self._ended.wait(self._lease_s / BEATS):
            try:
                alive = self._beat(epoch)
            except SQLAlchemyError as error:
                _log.warning("no sign of life given", epoch=epoch, reason=type(error).__name__)
                continue
            if not alive:
                self._lost.set()
                return

    def _beat(self, epoch: int) -> bool:
        with self._store.writing(led=False) as session:
            row = session.scalars(select(LeadRow).with_for_update()).one()
            if row.epoch != epoch:
                return False
            row.beat += 1
        return True
