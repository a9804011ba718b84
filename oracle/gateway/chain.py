"""What the chain says about sessions, and which of them this provider takes. Reads only.

Money counts once it is finalized; a close counts as soon as the head shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from oracle.facts import Facts
from oracle.gateway.account import NEVER
from oracle.gateway.rates import RateCard
from oracle.gateway.refusals import SessionClosing, SessionRefused
from oracle.settings_gateway import GatewaySettings
from scrip.eip712_sessions import session_id
from scrip.errors import NotFound
from scrip.types import Resource
from scrip.types_spending import SessionState, SessionTerms

PAID_IN: Final = (Resource.OUTPUT_TOKEN, Resource.INPUT_TOKEN)
"""Resources whose credits pay for calls."""
_DELEGATED: Final = b"\xef\x01\x00"
"""How the code of an account begins that delegates to a contract (EIP-7702) and still signs by its key."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A session as the chain shows it: its finalized slot, and `close_at` of the head."""

    state: SessionState
    close_at: int


@dataclass(frozen=True, slots=True)
class Times:
    """Unix seconds of the chain: from `urgent_at` on charges are claimed at once, from `ends_at` on nothing
    is served.
    """

    urgent_at: int
    ends_at: int


class SessionChain:
    """Reads for the sessions of one provider. Safe to share between threads."""

    def __init__(self, facts: Facts, provider: str, rates: RateCard, settings: GatewaySettings) -> None:
        self.facts, self.provider = facts, provider
        self.chain_id, self.contract = facts.chain.chain_id, facts.chain.address("MeteredSessions")
        self._rates, self._margin_s = rates, settings.claim_margin_s
        self._sweep_s: int | None = None

    def session_id(self, terms: SessionTerms) -> bytes:
        """Id of the session with these terms."""
        return session_id(terms, self.chain_id, self.contract)

    def now(self) -> int:
        """Unix seconds of the chain."""
        return self.facts.now()

    def spender_of(self, budget_id: int) -> str:
        """Who spends a budget."""
        return str(self.facts.chain.at().read("SpendingBudgets", "spenderOf", budget_id))

    def read(self, sessions: Sequence[bytes]) -> list[Sight]:
        """Each session as it is."""
        finalized, head = self.facts.finalized(), self.facts.chain.at()
        states = finalized.sessions(sessions)
        newest = states if head.block == finalized.block else head.sessions(sessions)
        return [
            Sight(state, new.close_at or state.close_at) for state, new in zip(states, newest, strict=True)
        ]

    def times(self, terms: SessionTerms) -> Times:
        """When the session has to end, by its own expiry and by its class's: claims pay nothing once the
        reserve may sweep what backs it.
        """
        expiry = self.facts.class_terms(terms.class_id).expiry
        class_end = expiry + self._sweep_delay() if expiry else NEVER
        return Times(
            urgent_at=min(terms.expires_at, class_end) - self._margin_s,
            ends_at=min(terms.expires_at, class_end - self._margin_s),
        )

    def admit(self, session: bytes, terms: SessionTerms) -> Sight:
        """The session, if we serve it. Raises SessionRefused, SessionClosing, NotFound for its class."""
        if terms.provider != self.provider:
            raise SessionRefused(
                f"the session is with {terms.provider}, this is {self.provider}",
                terms.provider,
                self.provider,
            )
        self._check_class(terms)
        self._check_key(terms)
        (sight,) = self.read([session])
        if sight.state.closed:
            raise SessionClosing("the session is closed. Open another one")
        if sight.state.deposit == 0:
            self._no_deposit(session)
        return sight

    def _check_class(self, terms: SessionTerms) -> None:
        if terms.class_id not in self._rates.classes:
            offered = ", ".join(map(str, sorted(self._rates.classes))) or "none"
            raise SessionRefused(
                f"no rates for class {terms.class_id}: calls are paid in credits of {offered}",
                terms.class_id, offered,
            )  # fmt: skip
        try:
            facts = self.facts.class_facts(terms.class_id, self.provider)
        except NotFound:
            raise SessionRefused(f"class {terms.class_id} doesn't exist", terms.class_id) from None
        resource = facts.terms.resource
        if resource not in PAID_IN:
            wanted = " or ".join(item.label for item in PAID_IN)
            raise SessionRefused(
                f"credits of class {terms.class_id} are {resource.label}s, calls are paid in {wanted}s",
                resource.label, wanted,
            )  # fmt: skip
        if facts.oracle is None:
            raise SessionRefused(f"the registry doesn't let {self.provider} serve class {terms.class_id}")

    def _check_key(self, terms: SessionTerms) -> None:
        code = self.facts.chain.code(terms.key)
        if code and not code.startswith(_DELEGATED):
            raise SessionRefused(
                f"the session's key {terms.key} is a contract, which could change its mind about a voucher. "
                "Open a session with an account as its key",
                terms.key, "an account",
            )  # fmt: skip

    def _no_deposit(self, session: bytes) -> None:
        if self.facts.chain.at().session(session).deposit:
            depth = self.facts.chain.finality_depth
            raise SessionRefused(
                f"the session's deposit isn't final yet: that takes {depth} blocks. Try again then", 0, depth
            )
        raise SessionRefused("no such session on chain. Open it in MeteredSessions first", 0, 1)

    def _sweep_delay(self) -> int:
        if self._sweep_s is None:
            self._sweep_s = int(self.facts.chain.at().read("CreditReserve", "SWEEP_DELAY"))
        return self._sweep_s
