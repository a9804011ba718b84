"""What the store holds of session accounts: loading, storing and listing. No rule of money is here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import LargeBinary, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from oracle.gateway.account import MOST_OWED, Account, KeyState
from oracle.gateway.charge_log import FULL, LARGE, ChargeLog
from oracle.gateway.commits import Change
from oracle.gateway.seen import KEPT
from oracle.gateway.tables import CallBodyRow, CallRow, KeyRow, SessionRow
from oracle.logging import get
from oracle.models import Base, CursorRow, Hex
from oracle.store import NOBODY, Store
from scrip.call_receipts import SignedCallReceipt
from scrip.errors import NotFound

_BYTES: Final = (Hex, LargeBinary)

_log = get(__name__)

MOST_LOGGED: Final = 2**17
"""Bytes of a body. A call with a longer one is stored at once."""
PRUNED_AT_ONCE: Final = 1_000
BOOT: Final = "boot"
"""Name of the cursor that is the machine's boot (`oracle.synced.boot`) in which charges were stored last."""
CHANGING: Final = (
    "deposit", "claimed", "close_at", "closed", "authorised", "signature", "charged", "calls", "numbers_to",
    "last", "owed_ms", "owed_units", "urgent_at", "opened_ms",
)  # fmt: skip
"""Columns of a session that follow its account."""
CHARGED: Final = ("authorised", "signature", "charged", "calls", "numbers_to", "last", "owed_units")
"""Those of them that most charges change, none of which has an index: SQLite writes the index of each column
that it is given, changed or not.
"""


def _setting(table: Any, key: str, columns: Sequence[str]) -> Any:
    """An update of one row, by its key."""
    where = table.c[key] == bindparam("known", type_=table.c[key].type)
    return update(table).where(where).values({name: bindparam(name) for name in columns})


UPDATE_SESSION: Final = _setting(SessionRow.__table__, "session_id", CHANGING)
UPDATE_CHARGED: Final = _setting(SessionRow.__table__, "session_id", CHARGED)
UPDATE_KEY: Final = _setting(KeyRow.__table__, "key_id", ("spent",))
ADD_CALL: Final = insert(CallRow.__table__)  # type: ignore[arg-type]
ADD_BODY: Final = insert(CallBodyRow.__table__)  # type: ignore[arg-type]


class Book:
    """Rows of sessions, calls and API keys, and the log of charges that the store doesn't have yet, where
    there is one. Safe to share between threads, but for the log.
    """

    def __init__(self, store: Store, log: ChargeLog | None = None) -> None:
        self.store, self._log, self._logs = store, log, False
        self.ready = log is None
        """Whether the store has what the log of an earlier process had."""
        self._update_session, self._update_charged, self._update_key, self._add_call, self._add_body = map(
            store.driver.prepare, (UPDATE_SESSION, UPDATE_CHARGED, UPDATE_KEY, ADD_CALL, ADD_BODY)
        )

    # Sessions

    def session(self, session_id: bytes) -> SessionRow | None:
        """The session's row, None if it isn't known."""
        with self.store.reading() as db:
            return db.get(SessionRow, session_id)

    def live(self) -> Sequence[bytes]:
        """Ids of all sessions that aren't closed on chain."""
        with self.store.reading() as db:
            return db.scalars(select(SessionRow.session_id).where(SessionRow.closed.is_(False))).all()

    def count(self) -> int:
        """How many sessions aren't closed."""
        with self.store.reading() as db:
            query = select(func.count()).select_from(SessionRow).where(SessionRow.closed.is_(False))
            return db.scalar(query) or 0

    def add(self, account: Account) -> None:
        """Insert a session, unless it is known."""
        with self.store.writing() as db:
            if db.get(SessionRow, account.session) is None:
                fixed = {"terms": account.terms, "class_id": account.terms.class_id}
                db.add(SessionRow(session_id=account.session, **fixed, **values(account)))

    def commit(self, changes: Sequence[Change]) -> None:
        """Store changes, all or none, in their order: on the disk if one of them must be."""
        there = self.charged([change.call["call_id"] for change in changes if change.again and change.call])
        new = [change for change in changes if not change.call or change.call["call_id"] not in there]
        sessions = {change.account.session: change.session for change in new}
        whole = {change.account.session for change in new if change.whole}
        spent = {change.key["key_id"]: change.key["spent"] for change in new if change.key}
        rows = (
            (self._update_session, [{**sessions[session], "known": session} for session in whole]),
            (
                self._update_charged,
                [{**row, "known": session} for session, row in sessions.items() if session not in whole],
            ),
            (self._add_call, [change.call for change in new if change.call]),
            (self._add_body, [change.body for change in new if change.body]),
            (self._update_key, [{"known": key_id, "spent": units} for key_id, units in spent.items()]),
        )
        synced = any(change.synced for change in changes)
        with self.store.driver.writing(self.store.epoch, synced=synced) as transaction:
            for statement, parameters in rows:
                transaction.run(statement, parameters)

    # The log of charges

    @property
    def keeps(self) -> bool:
        """Whether there is a log with room, and charges needn't wait for the disk."""
        log = self._log if self._logs and self.store.epoch != NOBODY else None
        return log is not None and log.size < FULL and self.store.driver.syncs_later

    def keep(self, change: Change) -> bool:
        """Write a charge into the log. False if it can't be, or is better stored at once."""
        body = change.body
        if self._log is None or not self.keeps:
            return False
        if body is not None and len(body["request"]) + len(body["response"]) > MOST_LOGGED:
            return False
        try:
            self._log.add(_logged(change))
        except OSError as error:
            _log.warning("charge not logged, it waits for the store", reason=str(error))
            return False
        return True

    def take_up(self) -> None:
        """Store what only the log has. As a node begins to lead."""
        if self._log is None:
            return
        with self.store.writing() as db:
            found = Counter(_take_up(db, row) for row in self._log.rows())
        if found[True]:
            _log.warning("charges taken up that an earlier process had logged", calls=found[True])
        if found[None]:
            file = self._log.put_aside()
            _log.error(
                "logged charges don't follow the store's and are kept aside",
                calls=found[None],
                file=str(file),
            )
        else:
            self._log.clear()

    def begin(self) -> None:
        """Use the log from now on. What it had is taken up, and nothing of before that is in memory."""
        self._logs, self.ready = self._log is not None, True

    def end(self, all_stored: bool) -> None:
        """Use the log no more: another process may begin to, of another release too, so it is left empty if
        it can be.
        """
        if self._log is None:
            return
        used, self._logs = self._logs, False
        if used and all_stored:
            self._empty(self._log)
        self._log.close()

    def trim(self) -> None:
        """Empty a large log. Only while the store has all that is in it, and nothing is kept. Raises nothing:
        if it can't be emptied, it grows until it is `FULL`.
        """
        if self._logs and self._log is not None and self._log.size > LARGE:
            self._empty(self._log)

    def _empty(self, log: ChargeLog) -> None:
        try:
            log.clear()
        except OSError as error:
            _log.warning("log of charges not emptied", reason=str(error))

    def skip_lost(self) -> None:
        """If the machine has restarted since, the last charges may be lost whose receipts are out: no number
        that one of them may have is given again.
        """
        boot = self.store.driver.boot
        if boot is None:
            return
        with self.store.writing() as db:
            row = db.get(CursorRow, BOOT)
            if row is None:
                db.add(CursorRow(name=BOOT, block=boot))
            elif row.block != boot:
                row.block = boot
                lost = SessionRow.calls < SessionRow.numbers_to
                db.execute(update(SessionRow).where(lost).values(calls=SessionRow.numbers_to))

    # Calls

    def vouchers(self, session_id: bytes) -> list[int]:
        """Numbers of the vouchers of the newest charged calls, as many as are told apart."""
        query = (
            select(CallRow.voucher)
            .where(CallRow.session_id == session_id, CallRow.voucher.is_not(None))
            .order_by(CallRow.number.desc())
            .limit(KEPT)
        )
        with self.store.reading() as db:
            return [number for number in db.scalars(query) if number is not None]

    def receipt_of(self, call_id: str) -> SignedCallReceipt | None:
        """The receipt of a call, None if it wasn't charged."""
        with self.store.reading() as db:
            text = db.scalar(select(CallRow.receipt).where(CallRow.call_id == call_id))
        return None if text is None else SignedCallReceipt.from_json(json.loads(text))

    def charged(self, call_ids: Sequence[str]) -> frozenset[str]:
        """Those of the calls that were charged."""
        if not call_ids:
            return frozenset()
        with self.store.reading() as db:
            return frozenset(db.scalars(select(CallRow.call_id).where(CallRow.call_id.in_(call_ids))))

    def calls(self, session_id: bytes, after: int, limit: int) -> Sequence[CallRow]:
        """Charged calls with numbers above `after`, in order."""
        query = (
            select(CallRow)
            .where(CallRow.session_id == session_id, CallRow.number > after)
            .order_by(CallRow.number)
            .limit(limit)
        )
        with self.store.reading() as db:
            return db.scalars(query).all()

    def body(self, session_id: bytes, number: int) -> CallBodyRow:
        """Request and answer of a deterministic call. Raises NotFound once they were deleted."""
        with self.store.reading() as db:
            row = db.get(CallBodyRow, (session_id, number))
        if row is None:
            raise NotFound("bytes of call", number, "Only deterministic calls are kept, for the audit window")
        return row

    # Keys

    def keys(self, session_id: bytes) -> Sequence[KeyRow]:
        """API keys of a session, oldest first, revoked ones too."""
        query = select(KeyRow).where(KeyRow.session_id == session_id)
        with self.store.reading() as db:
            return db.scalars(query.order_by(KeyRow.created_ms, KeyRow.key_id)).all()

    def key_with(self, secret_hash: bytes) -> KeyRow | None:
        """The API key with this hash of its secret."""
        with self.store.reading() as db:
            return db.scalar(select(KeyRow).where(KeyRow.secret_hash == secret_hash))

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction of the node that leads."""
        with self.store.writing() as db:
            yield db

    # Ageing

    def prune(self, bodies_before_ms: int, receipts_before_ms: int) -> int:
        """Delete bodies, and receipts of closed sessions, that are older. Returns how many rows went."""
        closed = select(SessionRow.session_id).where(SessionRow.closed.is_(True))
        old_calls = (CallRow.at_ms < receipts_before_ms) & CallRow.session_id.in_(closed)
        deleted = 0
        while gone := self._prune_some(bodies_before_ms, old_calls):
            deleted += gone
        return deleted

    def _prune_some(self, bodies_before_ms: int, old_calls: Any) -> int:
        """Some at a time, so that calls don't wait for it."""
        with self.store.writing() as db:
            bodies = db.execute(
                select(CallBodyRow.session_id, CallBodyRow.number)
                .where(CallBodyRow.at_ms < bodies_before_ms)
                .limit(PRUNED_AT_ONCE)
            ).all()
            calls = db.execute(
                select(CallRow.session_id, CallRow.number).where(old_calls).limit(PRUNED_AT_ONCE)
            ).all()
            for table, rows in ((CallBodyRow, bodies), (CallRow, calls)):
                for session_id, number in rows:
                    db.execute(delete(table).where(table.session_id == session_id, table.number == number))
        return len(bodies) + len(calls)


def _logged(change: Change) -> dict[str, Any]:
    """A charge as the log holds it: the rows of `Change`, bytes as hex."""
    columns = CHANGING if change.whole else CHARGED
    rows = {
        "session": {name: change.session[name] for name in columns},
        "call": change.call,
        "body": change.body,
        "key": change.key,
    }
    return {
        table: row and {name: _plain(value) for name, value in row.items()} for table, row in rows.items()
    }


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _take_up(db: Session, logged: dict[str, Any]) -> bool | None:
    """Store a charge unless the store has it (False). None if it doesn't follow what the store holds: each
    receipt has the digest of the one before it.
    """
    call = _row(CallRow, logged["call"])
    session = db.get(SessionRow, call["session_id"])
    there = db.get(CallRow, (call["session_id"], call["number"]))
    if there is not None:
        return False if there.digest == call["digest"] else None
    if session is not None and session.calls >= call["number"]:
        return False if session.closed else None  # those of closed ones are deleted in the end
    previous = json.loads(call["receipt"])["receipt"]["previous"]
    if session is None or session.last.hex() != previous.removeprefix("0x"):
        return None
    for name, value in _row(SessionRow, logged["session"]).items():
        setattr(session, name, value)
    db.add(CallRow(**call))
    if logged["body"]:
        db.add(CallBodyRow(**_row(CallBodyRow, logged["body"])))
    if logged["key"]:
        key = db.get(KeyRow, logged["key"]["key_id"])
        if key is not None:
            key.spent = logged["key"]["spent"]
    return True


def _row(table: type[Base], given: dict[str, Any]) -> dict[str, Any]:
    columns = table.__table__.c
    return {
        name: bytes.fromhex(value) if isinstance(columns[name].type, _BYTES) else value
        for name, value in given.items()
    }


def values(account: Account) -> dict[str, Any]:
    """The columns of an account that change, as they are now. The caller holds its lock."""
    known = {name: getattr(account, name) for name in CHANGING if name != "owed_units"}
    return known | {"owed_units": min(account.owed, MOST_OWED)}


def state_of(row: KeyRow) -> KeyState:
    """An API key as it is used."""
    return KeyState(
        row.key_id, row.session_id, row.cap, row.spent, row.models, row.expires_ms, row.per_minute,
        revoked=bool(row.revoked_ms),
    )  # fmt: skip
