"""Sessions on chain: credits deposited with one provider, spent by vouchers, and what is left given back.

A session's id is the digest of its terms, so it is known before anything is sent, and a caller that lost
track of an opening asks the chain by that id instead of depositing again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scrip.calls import Call, signature
from scrip.chain import Chain
from scrip.eip712_sessions import session_id
from scrip.errors import BadInput, NotFound, Refused
from scrip.logs import LogEvent
from scrip.sender import Sender
from scrip.structs import to_bytes
from scrip.types_spending import Claim, SessionState, SessionTerms
from scrip.view import ChainView

CONTRACT: Final = "MeteredSessions"
DAY_S: Final = 86_400
SALT_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as the chain has it at one block."""

    session: bytes
    terms: SessionTerms
    state: SessionState

    @property
    def left(self) -> int:
        """Base units that weren't claimed."""
        return self.state.deposit - self.state.claimed

    @property
    def status(self) -> str:
        """For people: open, closing or closed."""
        if self.state.closed:
            return "closed"
        return "closing" if self.state.close_at else "open"


def terms_for(
    chain: Chain,
    payer: str,
    provider: str,
    class_id: int,
    key: str,
    *,
    lifetime_s: int = DAY_S,
    budget_id: int = 0,
    salt: int | None = None,
) -> SessionTerms:
    """Terms of a new session of `lifetime_s` seconds, whose vouchers the account `key` signs."""
    return SessionTerms(
        payer=payer,
        provider=provider,
        class_id=class_id,
        key=key,
        expires_at=chain.at().time() + lifetime_s,
        budget_id=budget_id,
        salt=secrets.randbits(SALT_BITS) if salt is None else salt,
    )


def id_of(chain: Chain, terms: SessionTerms) -> bytes:
    """Id of the session with these terms."""
    return session_id(terms, chain.chain_id, chain.address(CONTRACT))


def open_session(chain: Chain, sender: Sender, terms: SessionTerms, units: int) -> SessionInfo:
    """Deposit `units` base units with the provider. The sender is the payer or, with a budget, its spender.

    One that is open already is returned as it is. Raises Refused if it is closed, BadInput if the payer has
    fewer units, and as `Sender.send`.
    """
    view, session = chain.at(), id_of(chain, terms)
    found = view.session(session)
    if found.closed:
        raise Refused(f"session 0x{session.hex()} is closed. Open one with another salt")
    if not found.deposit:
        _check_units(view, terms, units)
        function = "openSessionFor" if terms.budget_id else "openSession"
        _send(chain, sender, function, f"open session 0x{session.hex()}", terms.to_abi(), units)
    return info(chain.at(), terms)


def top_up(chain: Chain, sender: Sender, terms: SessionTerms, units: int) -> SessionInfo:
    """Deposit more. Raises BadInput, Refused while a close is pending, and as `Sender.send`."""
    view = chain.at()
    _check_open(info(view, terms), closing=False)
    _check_units(view, terms, units)
    label = (
        f"top up session 0x{id_of(chain, terms).hex()} to {view.session(id_of(chain, terms)).deposit + units}"
    )
    _send(chain, sender, "topUp", label, terms.to_abi(), units)
    return info(chain.at(), terms)


def request_close(chain: Chain, sender: Sender, terms: SessionTerms) -> SessionInfo:
    """Ask for the session to be closed: from `close_at` on anyone can. One that is closing is left so."""
    found = info(chain.at(), terms)
    _check_open(found)
    if not found.state.close_at:
        label = f"request close of session 0x{found.session.hex()}"
        _send(chain, sender, "requestClose", label, terms.to_abi())
    return info(chain.at(), terms)


def close(chain: Chain, sender: Sender, terms: SessionTerms) -> SessionInfo:
    """End the session and have what is left given back. Raises Refused before `close_at`, unless the sender
    is the provider; and as `Sender.send`.
    """
    view = chain.at()
    found = info(view, terms)
    if found.state.closed:
        return found
    _check_open(found)
    close_at, now = found.state.close_at, view.time()
    if sender.address != terms.provider and (not close_at or now < close_at):
        when = f"at {close_at} (unix seconds), now it is {now}" if close_at else "once a close was asked for"
        raise Refused(f"session 0x{found.session.hex()} can be closed {when}")
    _send(chain, sender, "close", f"close session 0x{found.session.hex()}", terms.to_abi())
    return info(chain.at(), terms)


def claim(chain: Chain, sender: Sender, row: Claim) -> SessionInfo:
    """Take what a session was charged, as its provider or the provider's oracle key."""
    session = id_of(chain, row.terms)
    _send(chain, sender, "claim", f"claim {row.units} of session 0x{session.hex()}", row.to_abi())
    return info(chain.at(), row.terms)


def info(view: ChainView, terms: SessionTerms) -> SessionInfo:
    """The session with these terms. Raises NotFound if it was never opened."""
    session = id_of(view.chain, terms)
    state = view.session(session)
    if not state.deposit:
        raise NotFound("session", session, "It was never opened on this chain")
    return SessionInfo(session, terms, state)


def find(view: ChainView, session: bytes) -> SessionInfo:
    """The session with this id, its terms from its opening event. Raises NotFound."""
    key = to_bytes("session", session, 32)
    for event in view.events(CONTRACT, "SessionOpened", sessionId=key):
        return info(view, terms_of(event))
    raise NotFound("session", key, "It was never opened on this chain")


def listed(
    view: ChainView, *, payer: str | None = None, provider: str | None = None
) -> Iterator[SessionInfo]:
    """Sessions of a payer, with a provider, or all, in the order they were opened."""
    wanted: dict[str, Any] = {"payer": payer, "provider": provider}
    filters = {name: value for name, value in wanted.items() if value is not None}
    events = list(view.events(CONTRACT, "SessionOpened", **filters))
    return _infos(view, [terms_of(event) for event in events])


def terms_of(event: LogEvent) -> SessionTerms:
    """SessionTerms as a SessionOpened event carries them."""
    args = event.args
    return SessionTerms(
        payer=args["payer"],
        provider=args["provider"],
        class_id=args["classId"],
        key=args["key"],
        expires_at=args["expiresAt"],
        budget_id=args["budgetId"],
        salt=args["salt"],
    )


def _infos(view: ChainView, terms: Sequence[SessionTerms]) -> Iterator[SessionInfo]:
    ids = [id_of(view.chain, one) for one in terms]
    for session, one, state in zip(ids, terms, view.sessions(ids), strict=True):
        yield SessionInfo(session, one, state)


def _check_open(found: SessionInfo, *, closing: bool = True) -> None:
    if found.state.closed or (found.state.close_at and not closing):
        raise Refused(f"session 0x{found.session.hex()} is {found.status}. Open another one")


def _check_units(view: ChainView, terms: SessionTerms, units: int) -> None:
    if units <= 0:
        raise BadInput("units", units, "more than 0")
    held = view.available(terms.payer, terms.class_id)
    if held < units:
        raise BadInput(
            "units", units, f"at most the {held} units of class {terms.class_id} that {terms.payer} has"
        )


def _send(chain: Chain, sender: Sender, function: str, label: str, *arguments: object) -> None:
    call = Call(chain.address(CONTRACT), signature(CONTRACT, function).encode(arguments))
    sender.send(call, label=label)
