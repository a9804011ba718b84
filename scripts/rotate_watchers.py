"""Change the members of a watcher set: propose, wait for the delay, activate. Run again, it goes on or stops.

    python -m scripts.rotate_watchers --rpc $RPC --keystore key.json --password-file password \\
        --set 1 --member 0x.. --member 0x.. --threshold 2 [--wait]

Holders of the set's classes have the delay to notice and leave. Ends with status 3 if it isn't due yet.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from web3.contract.contract import ContractFunction

from scrip.errors import BadInput, Reverted
from scrip.structs import to_address
from scripts.admin import REMAINS, Desk, agreed, guarded, moment, opened, parser


@dataclass(frozen=True, slots=True)
class Rotation:
    """The set to change and what it shall be. `members` ascend."""

    set_id: int
    members: tuple[str, ...]
    threshold: int

    @property
    def words(self) -> str:
        """For people."""
        return f"set {self.set_id}: {self.threshold} of {', '.join(self.members)}"


def due(desk: Desk, wanted: Rotation) -> int | None:
    """When the proposal can be activated (0: now), None if the chain holds no such proposal.

    The contract itself is asked, by simulating the activation. Raises Reverted for any other reason.
    """
    try:
        desk.sender.simulate(_activate(desk, wanted))
    except Reverted as error:
        if error.name == "ReceiptVerifier_TooEarly":
            return int(str(error.params["limit"]))
        if error.name in ("ReceiptVerifier_NotProposed", "ReceiptVerifier_ProposalLapsed"):
            return None
        raise
    return 0


def rotate(desk: Desk, wanted: Rotation, given: Namespace) -> int:
    """Do what is possible now; returns the exit status."""
    now = desk.chain.at().watcher_set(wanted.set_id)
    if (set(now.watchers), now.threshold) == (set(wanted.members), wanted.threshold):
        print(f"{wanted.words}: in force, nothing to do")
        return 0
    print(f"now: {now.threshold} of {', '.join(now.watchers)}\nthen: {wanted.words}")
    since = due(desk, wanted)
    print("to do: " + ("" if since is not None else "proposeSet, ") + "activateSet")
    if not agreed(given, desk.chain.chain_id):
        return 0
    if since is None:
        functions = desk.chain.contract("ReceiptVerifier").functions
        desk.send("proposeSet", functions.proposeSet(wanted.set_id, wanted.members, wanted.threshold))
        since = due(desk, wanted)
    if since:
        if not given.wait:
            print(f"proposed; to be activated from {moment(since)} on: run this again then")
            return REMAINS
        desk.wait_until(since, "the activation")
    desk.send("activateSet", _activate(desk, wanted))
    print("in force; put the new watchers' URLs into the providers' settings")
    return 0


def _activate(desk: Desk, wanted: Rotation) -> ContractFunction:
    functions = desk.chain.contract("ReceiptVerifier").functions
    return functions.activateSet(wanted.set_id, wanted.members, wanted.threshold)


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. See the top of this file."""
    made = parser("scripts.rotate_watchers", "Change the members of a watcher set.")
    made.add_argument("--set", type=int, required=True, dest="set_id", help="id of the set")
    made.add_argument("--member", action="append", required=True, help="address; once for each watcher")
    made.add_argument("--threshold", type=int, required=True, help="how many must sign")
    given = made.parse_args(arguments)

    def action() -> int:
        members = sorted({to_address("--member", each) for each in given.member}, key=lambda at: int(at, 16))
        if not 1 <= given.threshold <= len(members):
            raise BadInput("--threshold", given.threshold, f"1 to the number of members, {len(members)}")
        with opened(given) as desk:
            return rotate(desk, Rotation(given.set_id, tuple(members), given.threshold), given)

    return guarded(action)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
