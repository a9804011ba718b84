"""Session accounts over a real store and a chain in memory, where sessions are opened and closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_account import Account as Wallets
from eth_utils.crypto import keccak
from prometheus_client import CollectorRegistry

from oracle.gateway.accounts import Accounts, CallUsage, Reservation, TokenBounds, Voucher
from oracle.gateway.book import Book
from oracle.gateway.chain import Sight, Times
from oracle.gateway.charge_log import ChargeLog
from oracle.gateway.commits import Change
from oracle.gateway.metrics import GatewayMetrics
from oracle.gateway.rates import RateCard
from oracle.gateway.refusals import NotAtHand, SessionClosing, SessionRefused
from oracle.settings_gateway import RateSettings
from oracle.store import Store
from scrip.call_receipts import SignedCallReceipt
from scrip.eip712_sessions import session_id
from scrip.types_spending import SessionState, SessionTerms
from scrip.vouchers import sign_voucher

CHAIN_ID = 31337
SESSIONS = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
NOW = 1_760_000_000
ORACLE = Wallets.from_key("0x" + "11" * 32)
KEY = Wallets.from_key("0x" + "22" * 32)
STRANGER = Wallets.from_key("0x" + "33" * 32)
PAYER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
PROVIDER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
CLASS, OTHER_CLASS = 1, 2
MODEL, DEAR = "smol", "dear"
UNIT = 1_000_000
"""A rate at which a token costs one unit."""
RATES = (
    RateSettings(model=MODEL, class_id=CLASS, input=UNIT, cached_input=UNIT // 2, output=UNIT),
    RateSettings(model=DEAR, class_id=CLASS, input=3 * UNIT, output=5 * UNIT),
    RateSettings(model=MODEL, class_id=OTHER_CLASS, input=UNIT, output=UNIT),
)


@dataclass
class FakeSessions:
    """`oracle.gateway.chain.SessionChain` over a dict."""

    slots: dict[bytes, SessionState] = field(default_factory=dict)
    terms: dict[bytes, SessionTerms] = field(default_factory=dict)
    clock: int = NOW
    chain_id: int = CHAIN_ID
    contract: str = SESSIONS
    provider: str = PROVIDER
    spenders: dict[int, str] = field(default_factory=dict)
    salt: int = 0

    def session_id(self, terms: SessionTerms) -> bytes:
        return session_id(terms, CHAIN_ID, SESSIONS)

    def now(self) -> int:
        return self.clock

    def spender_of(self, budget_id: int) -> str:
        return self.spenders[budget_id]

    def read(self, sessions: Sequence[bytes]) -> list[Sight]:
        return [Sight(self.slots[one], self.slots[one].close_at) for one in sessions]

    def times(self, terms: SessionTerms) -> Times:
        return Times(terms.expires_at - 60, terms.expires_at)

    def admit(self, session: bytes, terms: SessionTerms) -> Sight:
        if session not in self.slots:
            raise SessionRefused("no such session on chain")
        if self.slots[session].closed:
            raise SessionClosing("closed")
        return Sight(self.slots[session], self.slots[session].close_at)

    # What others do

    def opened(self, deposit: int = 1_000, **changes: Any) -> SessionTerms:
        """A new session on chain."""
        self.salt += 1
        made = SessionTerms(PAYER, PROVIDER, CLASS, KEY.address, self.clock + 86_400, 0, self.salt)
        terms = replace(made, **changes)
        self.slots[self.session_id(terms)] = SessionState(deposit, 0, 0, False)
        return terms

    def change(self, session: bytes, **changes: Any) -> None:
        self.slots[session] = replace(self.slots[session], **changes)


@dataclass
class Till:
    """One process with accounts. `restart` is the next one on the same store."""

    folder: Path
    sessions: FakeSessions = field(default_factory=FakeSessions)
    now: float = 0.0
    wall_ms: int = NOW * 1000
    blind_s: float = 300
    url: str = ""
    store: Store = field(init=False)
    log: ChargeLog | None = field(init=False)
    accounts: Accounts = field(init=False)
    metrics: GatewayMetrics = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        url = self.url or f"sqlite:///{self.folder / 'oracle.db'}"
        self.store = Store.open(url, lambda: self.wall_ms)
        self.metrics = GatewayMetrics(CollectorRegistry())
        self.log = None if self.url else ChargeLog(self.folder / "oracle.db")
        self.accounts = Accounts(
            book=Book(self.store, self.log), chain=self.sessions, rates=RateCard(RATES), signer=ORACLE,  # type: ignore[arg-type]
            metrics=self.metrics, max_blind_s=self.blind_s, max_keys=3, clock=lambda: self.now,
        )  # fmt: skip
        self.accounts.begin()
        self.accounts.looked(self.sessions.now())

    def restart(self) -> None:
        """kill -9, and a new process."""
        self.close()
        self.start()

    def close(self) -> None:
        """End the process; nothing is stored any more."""
        if self.log is not None:
            self.log.close()
        self.store.close()

    def opened(self, deposit: int = 1_000, **changes: Any) -> bytes:
        """A session that the accounts know."""
        return self.accounts.open(self.sessions.opened(deposit, **changes)).session

    def reserve(self, session: bytes, authorised: int, most: int, model: str = MODEL) -> Reservation:
        """Reserve `most` units under a voucher over `authorised`."""
        return self.accounts.reserve(voucher(session, authorised), model, TokenBounds(most, 0))

    @contextmanager
    def failing(self, *, stores: bool = False) -> Iterator[None]:
        """Meanwhile the store fails, or says so after it has stored what it was given (`stores`)."""
        commits, commit = self.accounts._commits, self.accounts._commits._commit

        def fail(changes: Sequence[Change]) -> None:
            if stores:
                commit(changes)
            raise OSError("full")

        commits._commit = fail  # type: ignore[method-assign]
        try:
            yield
        finally:
            commits._commit = commit  # type: ignore[method-assign]

    def charge(self, call: Reservation, usage: CallUsage) -> SignedCallReceipt:
        """As a gateway does, but that the store doesn't catch up."""
        try:
            return self.accounts.charge(call, usage, waits=False)
        except NotAtHand:
            return self.accounts.charge(call, usage)

    def refresh(self, session: bytes, **changes: Any) -> None:
        """What the chain says now, taken over."""
        self.sessions.change(session, **changes)
        self.accounts.refresh([session])


def voucher(session: bytes, units: int, key: Any = KEY) -> Voucher:
    return sign_voucher(session, units, key, CHAIN_ID, SESSIONS)


def used(tokens: int, **changes: Any) -> CallUsage:
    """A call that cost so many units of MODEL."""
    values = {
        "input": tokens, "cached": 0, "output": 0, "request_hash": keccak(b"asked"),
        "response_hash": keccak(b"answered"), "started_ms": 5, "ended_ms": 9,
    } | changes  # fmt: skip
    return CallUsage(**values)


def held(till: Till, session: bytes) -> tuple[int, int, int]:
    """What a session's account has authorised, been charged and reserved, in base units."""
    view = till.accounts.view(session)
    return view.authorised, view.charged, view.reserved
