"""API keys of session accounts: what they may spend, and when they may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.gateway.accounts import (
    BadCredential,
    KeyCredential,
    KeySpent,
    ModelRefused,
    PaymentNeeded,
    TokenBounds,
    TooManyCalls,
)
from oracle.gateway.keys import KeyLimits
from oracle.gateway.refusals import NotAtHand
from oracle.tables import TABLES
from scrip.errors import BadInput, NotFound, Refused
from tests.unit.gateway_factory import (
    DEAR,
    MODEL,
    NOW,
    Till,
    held,
    used,
    voucher,
)


@pytest.fixture
def till(tmp_path: Path, database_url: str) -> Iterator[Till]:
    made = Till(tmp_path, url=database_url)
    yield made
    made.store.close()


def key(till: Till, session: bytes, cap: int = 100, **limits: Any) -> tuple[str, KeyCredential]:
    row, secret = till.accounts.keys.create(session, KeyLimits(cap, **limits))
    return row.key_id, KeyCredential(secret)


def spend(till: Till, credential: KeyCredential, units: int, model: str = MODEL) -> None:
    call = till.accounts.reserve(credential, model, TokenBounds(units, 0))
    till.accounts.charge(call, used(units))


def test_key__spends_what_vouchers_authorised__and_no_more_than_its_cap(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session, cap=60)
    with pytest.raises(PaymentNeeded):
        spend(till, secret, 10)
    till.accounts.authorise(session, voucher(session, 200))
    spend(till, secret, 50)
    till.restart()
    with pytest.raises(KeySpent, match="has 10 of 60 units left"):
        spend(till, secret, 11)
    spend(till, secret, 10)
    assert till.accounts.keys.list(session)[0].spent == 60


def test_key__in_parallel_on_a_cap_for_one__admits_exactly_one(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session, cap=10)
    till.accounts.authorise(session, voucher(session, 500))
    till.accounts.reserve(secret, MODEL, TokenBounds(10, 0))
    with pytest.raises(KeySpent):
        till.accounts.reserve(secret, MODEL, TokenBounds(1, 0))


def test_key__revoked__is_refused_at_once_and_after_a_restart(till: Till) -> None:
    session = till.opened()
    key_id, secret = key(till, session)
    till.accounts.authorise(session, voucher(session, 200))
    spend(till, secret, 1)
    till.accounts.keys.revoke(session, key_id)
    for _ in range(2):
        with pytest.raises(BadCredential, match="was revoked"):
            spend(till, secret, 1)
        till.restart()


def test_key__expired__is_refused(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session, expires_at=NOW + 10)
    till.accounts.authorise(session, voucher(session, 200))
    spend(till, secret, 1)
    till.wall_ms += 10_000
    with pytest.raises(BadCredential, match="has expired"):
        spend(till, secret, 1)


def test_key__for_some_models__is_refused_for_others(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session, models=(MODEL,))
    till.accounts.authorise(session, voucher(session, 200))
    spend(till, secret, 1)
    with pytest.raises(ModelRefused, match=f"may use {MODEL}"):
        spend(till, secret, 1, DEAR)


def test_key__too_many_calls_a_minute__says_when_again(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session, per_minute=2)
    till.accounts.authorise(session, voucher(session, 200))
    spend(till, secret, 1)
    spend(till, secret, 1)
    with pytest.raises(TooManyCalls) as caught:
        spend(till, secret, 1)
    assert 1 <= caught.value.retry_after_s <= 60


def test_key__unknown_secret__is_refused(till: Till) -> None:
    with pytest.raises(BadCredential, match="unknown API key"):
        spend(till, KeyCredential("sk-scrip-nobody"), 1)


def test_key__secret__is_stored_nowhere(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session)
    assert secret.secret not in repr(secret)
    with till.store.reading() as db:
        stored = [repr(db.execute(table.select()).all()) for table in TABLES.sorted_tables]
    assert len(stored) > 5
    assert not [rows for rows in stored if secret.secret.removeprefix("sk-scrip-") in rows]


def test_key__bad_limits__are_refused(till: Till) -> None:
    session = till.opened()
    with pytest.raises(ModelRefused):
        key(till, session, models=("unheard-of",))
    with pytest.raises(BadInput):
        KeyLimits(-1)
    with pytest.raises(BadInput):
        KeyLimits(1, name="x" * 65)
    for _ in range(3):
        key(till, session)
    with pytest.raises(Refused, match="Revoke one first"):
        key(till, session)
    with pytest.raises(NotFound):
        till.accounts.keys.revoke(till.opened(), till.accounts.keys.list(session)[0].key_id)


def test_reserve__without_waiting__takes_what_is_in_memory_only(till: Till) -> None:
    session = till.opened()
    _, secret = key(till, session, per_minute=2)
    with pytest.raises(NotAtHand):  # the key is in the store
        till.accounts.reserve(secret, MODEL, TokenBounds(1, 0), waits=False)
    till.accounts.authorise(session, voucher(session, 100))
    till.accounts.reserve(secret, MODEL, TokenBounds(10, 0))
    account = till.accounts.roster.account(session)
    with account.lock, pytest.raises(NotAtHand):  # somebody else is at it, who may wait for the store
        till.accounts.reserve(secret, MODEL, TokenBounds(10, 0), waits=False)
    account.stale = True
    with pytest.raises(NotAtHand):  # it must be read again
        till.accounts.reserve(secret, MODEL, TokenBounds(10, 0), waits=False)
    account.stale = False
    till.accounts.reserve(secret, MODEL, TokenBounds(10, 0), waits=False)
    assert held(till, session) == (100, 0, 20)
    with pytest.raises(TooManyCalls):  # two calls were made, whatever else was tried
        till.accounts.reserve(secret, MODEL, TokenBounds(10, 0), waits=False)
    till.restart()
    till.accounts.roster._accounts.clear()
    with pytest.raises(NotAtHand):
        till.accounts.reserve(voucher(session, 101), MODEL, TokenBounds(1, 0), waits=False)
