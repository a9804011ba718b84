"""Session accounts under any order of calls, vouchers, news of the chain, failures and restarts.

Whatever happens: what is charged is what receipts say, never more than authorised or deposited; restarts keep
charges and end reservations; receipts are one chain.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from oracle.gateway.accounts import (
    GatewayRefused,
    KeyCredential,
    PaymentNeeded,
    Reservation,
    ReservationGone,
    SessionClosing,
    TokenBounds,
)
from oracle.gateway.keys import KeyLimits
from scrip.call_receipts import SignedCallReceipt, check_chain
from scrip.structs import ZERO_BYTES32
from scrip.types_spending import SessionTerms
from tests.unit.gateway_factory import CHAIN_ID, MODEL, NOW, SESSIONS, FakeSessions, Till, used, voucher

SMALL = st.integers(min_value=0, max_value=60)
UNITS = st.integers(min_value=1, max_value=150)
SIDE = st.integers(min_value=0, max_value=1)


class Money(RuleBasedStateMachine):
    """Two sessions of one provider, an API key each, and calls in progress."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="scrip-money-"))
        self.till = Till(self.folder / "0", FakeSessions())
        self.lives = 0
        self.terms: list[SessionTerms] = []
        self.ids: list[bytes] = []
        self.keys: list[str] = []
        self.receipts: dict[bytes, list[SignedCallReceipt]] = {}
        self.authorised: dict[bytes, int] = {}
        self.held: list[Reservation] = []
        self.spent: dict[str, int] = {}
        for _ in range(2):
            self.open()

    def open(self) -> None:
        terms = self.till.sessions.opened(deposit=100)
        session = self.till.accounts.open(terms).session
        row, secret = self.till.accounts.keys.create(session, KeyLimits(40))
        self.terms.append(terms)
        self.ids.append(session)
        self.keys.append(secret)
        self.receipts[session], self.authorised[session], self.spent[row.key_id] = [], 0, 0

    # What the model says

    def charged(self, session: bytes) -> int:
        return sum(one.receipt.units for one in self.receipts[session])

    def ceiling(self, session: bytes) -> int:
        return min(self.authorised[session], self.till.sessions.slots[session].deposit)

    def reserved(self, session: bytes) -> int:
        return sum(one.units for one in self.held if one.session == session)

    # What clients do

    @rule(side=SIDE, units=UNITS)
    def authorise(self, side: int, units: int) -> None:
        """A voucher without a call."""
        session = self.ids[side]
        self.till.accounts.authorise(session, voucher(session, units))
        self.authorised[session] = max(self.authorised[session], units)

    @rule(side=SIDE, calls=st.lists(st.tuples(UNITS, SMALL), min_size=1, max_size=6))
    def reserve(self, side: int, calls: list[tuple[int, int]]) -> None:
        """Calls that bring vouchers: each is admitted exactly if there is room."""
        for units, most in calls:
            self.reserve_one(side, units, most)

    def reserve_one(self, side: int, units: int, most: int) -> None:
        session = self.ids[side]
        try:
            self.held.append(self.till.accounts.reserve(voucher(session, units), MODEL, TokenBounds(most, 0)))
        except PaymentNeeded as needed:
            if needed.code == "payment_needed":
                self.authorised[session] = max(self.authorised[session], units)
                assert self.charged(session) + self.reserved(session) + most > self.ceiling(session)
            return
        self.authorised[session] = max(self.authorised[session], units)
        assert self.charged(session) + self.reserved(session) <= self.ceiling(session)

    @rule(side=SIDE, most=SMALL)
    def reserve_by_key(self, side: int, most: int) -> None:
        """A call by API key: within its cap, and within the vouchers."""
        session = self.ids[side]
        try:
            credential = KeyCredential(self.keys[side])
            self.held.append(self.till.accounts.reserve(credential, MODEL, TokenBounds(most, 0)))
        except GatewayRefused:
            return
        key = self.held[-1].key_id
        using = sum(one.units for one in self.held if one.key_id == key)
        assert self.spent[key] + using <= 40
        assert self.charged(session) + self.reserved(session) <= self.ceiling(session)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(min_value=0), tokens=st.integers(min_value=0, max_value=80))
    def charge(self, which: int, tokens: int) -> None:
        """A call ends, sometimes having used more than it holds."""
        self.charged_now(self.held.pop(which % len(self.held)), tokens)

    def charged_now(self, held: Reservation, tokens: int) -> None:
        signed = self.till.charge(held, used(tokens))
        assert signed.receipt.units == min(tokens, held.units)
        self.receipts[held.session].append(signed)
        if held.key_id:
            self.spent[held.key_id] += signed.receipt.units

    @precondition(lambda self: self.held)
    @rule(which=st.integers(min_value=0), stored=st.booleans())
    def charge_while_the_store_fails(self, which: int, stored: bool) -> None:
        """The store fails before or after it has stored the charge; the call is charged again."""
        held = self.held.pop(which % len(self.held))
        with self.till.failing(stores=stored), pytest.raises(OSError, match="full"):
            self.till.accounts.charge(held, used(5))
        self.till.accounts.catch_up()
        self.charged_now(held, 5)

    @rule(fails=st.booleans(), stored=st.booleans())
    def catch_up(self, fails: bool, stored: bool) -> None:
        """The store has what was logged, at once or after a failure."""
        if fails and self.till.accounts._commits.kept():
            with self.till.failing(stores=stored), pytest.raises(OSError, match="full"):
                self.till.accounts.catch_up()
        self.till.accounts.catch_up()
        for session in self.ids:
            row = self.till.accounts.book.session(session)
            assert row is not None
            assert (row.charged, row.last) == (self.charged(session), self.till.accounts.view(session).last)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(min_value=0))
    def release(self, which: int) -> None:
        """A call that came to nothing."""
        held = self.held.pop(which % len(self.held))
        self.till.accounts.release(held)
        with pytest.raises(ReservationGone):
            self.till.accounts.charge(held, used(1))

    # What the chain says

    @rule(side=SIDE, units=st.integers(min_value=1, max_value=50))
    def top_up(self, side: int, units: int) -> None:
        session = self.ids[side]
        self.till.refresh(session, deposit=self.till.sessions.slots[session].deposit + units)

    @rule(side=SIDE)
    def claim(self, side: int) -> None:
        session = self.ids[side]
        self.till.refresh(session, claimed=self.charged(session))

    @precondition(lambda self: any(self.receipts.values()))
    @rule(side=SIDE)
    def close(self, side: int) -> None:
        """A close is asked for: nothing more is served, what runs is charged. Another session follows."""
        session = self.ids[side]
        self.till.refresh(session, close_at=NOW + 3_600)
        with pytest.raises(SessionClosing):
            self.till.accounts.reserve(voucher(session, 10_000), MODEL, TokenBounds(0, 0))
        for held in [one for one in self.held if one.session == session]:
            self.held.remove(held)
            self.charged_now(held, held.units)
        self.accounts_are_the_model()
        self.till.refresh(session, closed=True)
        self.open()
        for found in (self.terms, self.ids, self.keys):
            found[side] = found.pop()  # type: ignore[attr-defined]

    # What happens to the provider

    @rule()
    def restart(self) -> None:
        """kill -9, and a new process: charges survive, reservations vanish."""
        gone, self.held = self.held, []
        self.till.restart()
        for held in gone:
            with pytest.raises(ReservationGone):
                self.till.accounts.charge(held, used(1))
        self.forget_unstored()

    def forget_unstored(self) -> None:
        """Vouchers that no charge came under may be forgotten; their clients show others."""
        for session in self.ids:
            self.authorised[session] = self.till.accounts.view(session).authorised

    @precondition(lambda self: any(self.receipts.values()))
    @rule()
    def lose_everything(self) -> None:
        """The database is gone: sessions come from chain, charges from the clients' last receipts."""
        self.lives += 1
        self.held = []
        self.till.close()
        self.till.folder = self.folder / str(self.lives)
        self.till.start()
        for side, (terms, session) in enumerate(zip(self.terms, self.ids, strict=True)):
            slot = self.till.sessions.slots[session]
            view = self.till.accounts.open(terms)
            assert (view.charged, view.authorised) == (slot.claimed, slot.claimed)
            charged = self.charged(session)
            if self.receipts[session]:
                last = self.receipts[session][-1]
                self.till.accounts.restore(session, last, voucher(session, max(charged, 1)))
            row, secret = self.till.accounts.keys.create(session, KeyLimits(40))
            self.keys[side], self.spent[row.key_id] = secret, 0
        self.forget_unstored()

    # Always

    @invariant()
    def accounts_are_the_model(self) -> None:
        for session in self.ids:
            view = self.till.accounts.view(session)
            assert view.charged == self.charged(session)
            assert view.reserved == self.reserved(session)
            assert view.authorised == self.authorised[session]
            assert view.charged + view.reserved <= min(view.authorised, view.deposit)
            assert view.available >= 0
            assert view.claimed <= view.charged

    @invariant()
    def receipts_are_one_chain(self) -> None:
        for session in self.ids:
            receipts = [one.receipt for one in self.receipts[session]]
            last = check_chain(receipts, CHAIN_ID, SESSIONS)
            expected = ZERO_BYTES32 if last is None else last.digest(CHAIN_ID, SESSIONS)
            view = self.till.accounts.view(session)
            assert (view.calls, view.last) == (len(receipts), expected)
            if receipts:
                assert receipts[0].number == 1
                assert receipts[-1].total_units == self.charged(session)

    def teardown(self) -> None:
        self.till.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def test_accounts__any_order_of_calls_news_and_failures__never_more_than_authorised() -> None:
    rules = settings(
        max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Money, settings=rules)
