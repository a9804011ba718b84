"""The sender under any mix of faults and crashes: every intent happens at most once, and none stays open."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from scrip.errors import NodeUnavailable, TxLost, TxUnknown
from scrip.journal import TxOutcome
from scrip.sender import Call, Sender
from tests.unit.fake_chain import TARGET, Crash
from tests.unit.sender_world import World

EVENTS = st.sampled_from(
    ["mine", "mine", "wait:4", "wait:11", "forget", "taken", "base:2", "down:2", "crash"]
    + [
        f"answer:{text}"
        for text in ("cut", "void", "crash", "nonce too low", "boom", "transaction underpriced")
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(EVENTS, max_size=8), min_size=1, max_size=4), st.integers(0, 2))
def test_send__any_faults_and_crashes__every_intent_happens_at_most_once(
    plans: list[list[str]], depth: int
) -> None:
    world = World()
    world.chain.depth = depth
    sender, told = world.sender(), {}
    for index, plan in enumerate(plans):
        call = Call(TARGET, bytes([index + 1]))
        told[call.data] = attempt(world, sender, call, plan)
        if told[call.data] == "crashed":
            sender = world.sender()
    world.events, world.then, world.chain.answers, world.chain.down = [], "mine", [], 0
    settle(world, told)
    assert world.open() == []
    for data, outcome in told.items():
        expected = {"mined": 1, "not sent": 0, "lost": 0}.get(outcome)
        assert world.chain.times_mined(data) == expected, (outcome, world.chain.mined)


def attempt(world: World, sender: Sender, call: Call, plan: list[str]) -> str:
    while plan and plan[0].startswith("answer:"):
        world.happen(plan.pop(0))
    world.events = plan
    try:
        sender.send(call, label=call.data.hex())
    except Crash:
        return "crashed"
    except TxUnknown:
        return "unknown"
    except TxLost:
        return "lost"
    except NodeUnavailable:
        return "not sent"
    return "mined"


def settle(world: World, told: dict[bytes, str]) -> None:
    """Restart in a world that works, and learn what became of what was left open."""
    opened = {bytes.fromhex(tx.label) for tx in world.open()}
    for data, outcome in told.items():
        if outcome in ("crashed", "unknown") and data not in opened:
            # Decided by a reconciliation on the way, or never recorded: the chain says which.
            told[data] = "mined" if world.chain.times_mined(data) else "not sent"
    for round_ in range(50):
        sender = world.sender()
        found = sender.reconcile()
        for item in found:
            names = {TxOutcome.MINED: "mined", TxOutcome.LOST: "lost"}
            told[bytes.fromhex(item.label)] = names.get(item.outcome, "unknown")
        if not found:
            return
        world.chain.mine()
        world.now += 1
        pending = [item for item in found if item.outcome is TxOutcome.PENDING]
        if pending and round_ > 5:
            finish(sender, pending[0].nonce, bytes.fromhex(pending[0].label), told)


def finish(sender: Sender, nonce: int, data: bytes, told: dict[bytes, str]) -> None:
    try:
        sender.follow(nonce)
        told[data] = "mined"
    except TxLost:
        told[data] = "lost"
