"""Hand every role that an account holds over to a multisig, until the account holds nothing.

    python -m scripts.hand_over --rpc $RPC --keystore key.json --password-file password --to 0x.. [--wait]

Each run does what can be done now, and says what remains: a role is announced, granted to the multisig after
the delay, then renounced; last, the administration is offered, and the multisig takes it with a transaction
of its own, whose data is printed. Status 3 as long as something remains, 0 when the account holds nothing.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scrip.deploying.plan import ROLED
from scrip.errors import Refused
from scrip.structs import to_address
from scripts.admin import REMAINS, Desk, agreed, guarded, moment, opened, parser

ROLES = (
    ("ComputeCredits", "ISSUER_ROLE"),
    ("ComputeCredits", "PAUSER_ROLE"),
    ("ReceiptVerifier", "WATCHER_ADMIN_ROLE"),
    ("CreditReserve", "FEE_ROLE"),
    ("CreditExchange", "FEE_ROLE"),
)
"""Contract and role, of every role beside the administration of the contracts in `ROLED`."""


@dataclass(frozen=True, slots=True)
class Move:
    """The next thing to do for a role. `due` is when it can be done; `send` is None if it isn't ours."""

    what: str
    due: int = 0
    send: Callable[[], None] | None = None


def moves(desk: Desk, to: str) -> Iterator[Move]:
    """What is to be done next, read from the chain alone; nothing once `desk.me` holds nothing."""
    held = [(name, role) for name, role in ROLES if _holds(desk, name, role, desk.me)]
    for name, role in held:
        yield _role_move(desk, name, role, to)
    for name in ROLED:
        if desk.chain.at().read(name, "defaultAdmin") == desk.me:
            yield _admin_move(desk, name, to, waits=any(each == name for each, _ in held))


def held(desk: Desk) -> list[str]:
    """Every role that the account holds, for people."""
    roles = [f"{name}.{role}" for name, role in ROLES if _holds(desk, name, role, desk.me)]
    return roles + [
        f"{name}.admin" for name in ROLED if desk.chain.at().read(name, "defaultAdmin") == desk.me
    ]


def _role_move(desk: Desk, name: str, role: str, to: str) -> Move:
    view, functions = desk.chain.at(), desk.chain.contract(name).functions
    role_id = view.read(name, role)
    if _holds(desk, name, role, to):
        what = f"{name}.renounceRole {role}"
        return Move(what, send=lambda: desk.send(what, functions.renounceRole(role_id, desk.me)))
    if view.read(name, "defaultAdmin") != desk.me:
        return Move(f"{name}.{role}: only {view.read(name, 'defaultAdmin')} can grant it to {to}")
    due = int(view.read(name, "grantableAt", role_id, to))
    lapsed = due and view.time() > due + int(view.read(name, "ROLE_WINDOW"))
    if view.read(name, "rolesSealed") and (not due or lapsed):
        what = f"{name}.scheduleRole {role}"
        return Move(what, send=lambda: desk.send(what, functions.scheduleRole(role_id, to)))
    what = f"{name}.grantRole {role}"
    return Move(what, due, lambda: desk.send(what, functions.grantRole(role_id, to)))


def _admin_move(desk: Desk, name: str, to: str, *, waits: bool) -> Move:
    """An admin that has left can grant nothing: the other roles of the contract go first."""
    functions = desk.chain.contract(name).functions
    if waits:
        return Move(f"{name}.beginDefaultAdminTransfer: after its other roles")
    pending, due = desk.chain.at().read(name, "pendingDefaultAdmin")
    if pending != to:
        what = f"{name}.beginDefaultAdminTransfer"
        return Move(what, send=lambda: desk.send(what, functions.beginDefaultAdminTransfer(to)))
    data, at = functions.acceptDefaultAdminTransfer()._encode_transaction_data(), desk.chain.address(name)
    return Move(f"{name}: the multisig accepts: to {at}, data {data}", due + 1)


def run(desk: Desk, to: str, given: Namespace) -> int:
    """Do what is possible; returns the exit status."""
    if not desk.chain.code(to):
        raise Refused(f"{to} has no code on chain {desk.chain.chain_id}: it is no multisig. Create it first")
    print(f"{desk.me} holds: {', '.join(held(desk)) or 'nothing'}")
    asked = False
    while todo := list(moves(desk, to)):
        now = desk.chain.at().time()
        ready = [move for move in todo if move.send is not None and move.due <= now]
        if not asked:
            for move in todo:
                print(f"  to do: {move.what}" + (f", from {moment(move.due)} on" if move.due > now else ""))
            if ready and not agreed(given, desk.chain.chain_id):
                return 0
            asked = True
        for move in ready:
            assert move.send is not None  # noqa: S101 - chosen so above
            move.send()
        if not ready and not _waited(desk, todo, given):
            break
    return _end(desk, to)


def _waited(desk: Desk, todo: Sequence[Move], given: Namespace) -> bool:
    """Whether there was something of ours to wait for, and time was given for it."""
    ours = [move for move in todo if move.send is not None]
    if not ours or not given.wait:
        return False
    first = min(ours, key=lambda move: move.due)
    desk.wait_until(first.due, first.what)
    return True


def _end(desk: Desk, to: str) -> int:
    left = held(desk)
    if not left:
        print(f"{desk.me} holds nothing")
        return 0
    print(f"{desk.me} still holds: {', '.join(left)}")
    for move in moves(desk, to):
        print(f"  remains: {move.what}" + (f", from {moment(move.due)} on" if move.due else ""))
    return REMAINS


def _holds(desk: Desk, name: str, role: str, account: str) -> bool:
    view = desk.chain.at()
    return bool(view.read(name, "hasRole", view.read(name, role), account))


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. See the top of this file."""
    made = parser("scripts.hand_over", "Hand every role of an account over to a multisig.")
    made.add_argument("--to", required=True, help="address of the multisig")
    given = made.parse_args(arguments)

    def action() -> int:
        to = to_address("--to", given.to)
        with opened(given) as desk:
            return run(desk, to, given)

    return guarded(action)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
