"""Sessions whose calls are logged, over a real store."""

from __future__ import annotations

from typing import Any

from scrip.call_receipts import SignedCallReceipt
from tests.unit.gateway_factory import Till, used

NAME = "oracle.db-charges"


def begun(till: Till, deposit: int = 1_000) -> bytes:
    """A session whose next numbers are set aside: what follows is logged."""
    session = till.opened(deposit)
    till.accounts.charge(till.reserve(session, 1, 1), used(0))
    return session


def charge(till: Till, session: bytes, number: int, units: int = 10, **changes: Any) -> SignedCallReceipt:
    """A call that is logged, paid by voucher `number`."""
    call = till.reserve(session, 100 + number, units)
    return till.accounts.charge(call, used(units, **changes), waits=False)


def stored(till: Till, session: bytes) -> tuple[int, int]:
    """What the store says was charged, and how many calls it has."""
    row = till.accounts.book.session(session)
    assert row is not None
    return row.charged, len(till.accounts.book.calls(session, 0, 999))


def fails(_: object) -> None:
    raise OSError("full")
