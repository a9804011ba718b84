"""Gas of what users and providers do, from the receipts of transactions on Anvil.

Each figure is one transaction's `gasUsed` (two of them for `job_whole`): cold storage, intrinsic cost,
calldata and refunds included. Balances, supply and earnings are non-zero before and after, and another job of
the class stays open, as in daily use. Rows of a batch belong to distinct buyers; a batch of jobs is signed
once by the provider and once by each of two watchers. A job settles after its `acceptBy`, which is when its
slot is emptied; `submit_early` is one that settles before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.jobs import Jobs
from bench.lab import Lab
from bench.spending import Spending
from demo import stack
from demo.stack_config import Options

RESULTS = Path(__file__).with_name("gas.json")
GOALS = {
    "open": 66_000,
    "open_budget_2": 100_000,
    "submit": 90_000,
    "job_whole": 155_000,
    "submit_batch_100": 20_000,
    "claim_batch_100": 18_000,
    "transfer_1155": 42_000,
}
"""Most gas that each should take, by the plan."""
PEERS = {
    "open": 87_045,
    "submit": 113_003,
    "job_whole": 233_674,
    "submit_batch_100": 65_910,
    "claim_batch_100": 21_797,
    "transfer_1155": 40_048,
}
"""The best others were measured at on similar work (commerce-payments, x402, plain OpenZeppelin)."""
BATCHES = (1, 10, 100)
TOLERANCE = 100
"""A rise of more than one part in this many is a failure."""


def measure() -> dict[str, int]:
    """Bring a chain up, do everything once and return gas by operation; batches per row."""
    with stack.running(Options()) as up:
        lab = Lab.on(up)
        jobs, spending = Jobs(lab), Spending(lab)
        figures = dict(jobs.singles()) | dict(spending.budgets())
        jobs.warm(lab.watched)
        spending.claims(1)
        for size in BATCHES:
            figures[f"submit_batch_{size}"] = jobs.batch(size) // size
            figures[f"claim_batch_{size}"] = spending.claims(size) // size
        return figures


def risen(figures: dict[str, int]) -> list[str]:
    """What costs over 1 % more than the committed figures say, or has none; a line each."""
    before: dict[str, int] = json.loads(RESULTS.read_text("utf-8"))
    lines = [f"{name}: no committed figure" for name in sorted(figures.keys() - before.keys())]
    lines += [f"{name}: committed, but not measured" for name in sorted(before.keys() - figures.keys())]
    for name in sorted(figures.keys() & before.keys()):
        was, now = before[name], figures[name]
        if (now - was) * TOLERANCE > was:
            lines.append(f"{name}: {now:,} gas, was {was:,}; at most 1 % more is allowed")
    return lines


def write(figures: dict[str, int]) -> None:
    """Write the figures to `bench/gas.json`, whole or not at all."""
    draft = RESULTS.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", "utf-8")
    draft.replace(RESULTS)


def show(figures: dict[str, int]) -> None:
    """Print the figures beside the goals and the peers."""
    table = Table(title="gas by operation (receipts on Anvil)")
    for name in ("operation", "gas", "goal", "best peer"):
        table.add_column(name, justify="left" if name == "operation" else "right")
    for name, gas in sorted(figures.items()):
        goal, peer = GOALS.get(name), PEERS.get(name)
        table.add_row(name, f"{gas:,}", f"{goal:,}" if goal else "", f"{peer:,}" if peer else "")
    Console().print(table)
