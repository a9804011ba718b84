"""What a provider's node can do: `python -m bench.oracle` writes bench/oracle.json and oracle-growth.json.

settled_per_s_batched, settled_per_s_single
    Jobs settled per second by a node that finds `JOBS` (`SINGLE`) metered jobs, in transactions of `BATCH`
    jobs (of one): everything from the stored receipt to the end of the job, by the daemon's own process.
settled_per_s_end_to_end
    The same from the open job on, with a real process for each job, the smallest of the catalogue.
exit_to_settled_p50_ms, exit_to_settled_p99_ms
    From the end of a job's process to the job's end in the node's store: jobs one after the other, a chain
    that mines at once, batches of age 0, polling every second.
catchup_events_per_s, catchup_rss_mb
    A new node reads `PAST` openings of jobs that ended long ago; the most memory it held, in MiB.

The chain is Anvil on the same machine: with two cores it takes its share of them. What else runs there slows
all of it down; the load is printed with each part.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import results
from bench.oracle_history import History
from bench.oracle_lab import SPEC, OracleLab, Provider, running
from oracle.store import Store
from scrip.spec import spec_hash

RESULTS: Final = "oracle.json"
GROWTH: Final = results.FOLDER / "oracle-growth.json"
GOALS: Final = {
    "settled_per_s_batched": 100,
    "catchup_events_per_s": 20_000,
    "catchup_rss_mb": 200,
    "settled_batched_over_single": 5,
}
BATCH: Final = 100
JOBS, SINGLE, WHOLE, TIMED = 1_000, 200, 60, 100
PAST: Final = 100_000
SIZES: Final = (1, 10, 100, 1_000, 10_000)
STARTED_S: Final = 60.0

Row = Mapping[str, int | float]


def main(arguments: Sequence[str]) -> int:
    """Measure the parts named, by default all; print, and write what was measured."""
    figures: dict[str, int | float] = {}
    for name in arguments or tuple(PARTS):
        with running() as lab:
            found = PARTS[name](lab)
        print(f"{name}: {json.dumps(found)} (load {os.getloadavg()[0]:.1f})", flush=True)
        figures |= found
    if {"settled_per_s_batched", "settled_per_s_single"} <= figures.keys():
        ratio = figures["settled_per_s_batched"] / figures["settled_per_s_single"]
        figures["settled_batched_over_single"] = round(ratio, 1)
    results.merge(RESULTS, figures)
    show(figures)
    return 0


# Settling


def growth(lab: OracleLab) -> dict[str, int | float]:
    """Take-in and settlement of 1 to 10,000 open jobs, written to `GROWTH`; the figure of `JOBS`."""
    rows = {}
    for size in SIZES:
        lab.open(size)
        rows[str(size)] = settle(lab, size, BATCH)
        print(f"{size:>6} jobs: {json.dumps(rows[str(size)])} (load {os.getloadavg()[0]:.1f})", flush=True)
    GROWTH.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return {"settled_per_s_batched": rows[str(JOBS)]["settled_per_s"]}


def single(lab: OracleLab) -> dict[str, int | float]:
    """A transaction for each job."""
    lab.open(SINGLE)
    return {"settled_per_s_single": settle(lab, SINGLE, 1)["settled_per_s"]}


def settle(lab: OracleLab, jobs: int, batch: int) -> Row:
    """Rates at which a node takes in the open jobs and settles them once they are metered."""
    node = lab.provider(settle={"max_batch": batch, "max_age_s": 0})
    metered = _meter(node)
    if metered["metered"] != jobs:
        raise AssertionError(f"{metered['metered']} of {jobs} jobs metered")
    node.start()
    try:
        node.wait("settled", jobs)
        begun, ended = _span(node, "signing")
        peak = node.peak_mb()
    finally:
        node.stop()
    return {
        "taken_in_per_s": round(metered["taken"] / metered["intake_s"], 1),
        "settled_per_s": round(jobs * 1000 / max(1, ended - begun), 1),
        "settled_in_ms": ended - begun,
        "peak_mb": peak,
    }


def whole(lab: OracleLab) -> dict[str, int | float]:
    """Open jobs to settled ones, with a process for each."""
    lab.open(WHOLE)
    node = _knowing(lab.provider(settle={"max_batch": BATCH, "max_age_s": 1}))
    node.start()
    try:
        node.wait("settled", WHOLE)
        begun, ended = _span(node, "executing")
    finally:
        node.stop()
    return {"settled_per_s_end_to_end": round(WHOLE * 1000 / (ended - begun), 1)}


def latency(lab: OracleLab) -> dict[str, int | float]:
    """From the end of a job's process to its end on chain, as the node saw it."""
    node = _knowing(lab.provider(settle={"max_batch": BATCH, "max_age_s": 0}))
    node.start()
    try:
        for done in range(TIMED):
            lab.open(1)
            node.wait("settled", done + 1)
        query = (
            "SELECT s.at_ms - j.exited_ms FROM steps s JOIN jobs j USING (job_id) WHERE s.state = 'settled'"
        )
        taken = [int(row[0]) for row in node.ask(query)]
    finally:
        node.stop()
    cuts = quantiles(taken, n=100, method="inclusive")
    return {"exit_to_settled_p50_ms": round(cuts[49]), "exit_to_settled_p99_ms": round(cuts[98])}


# Catching up


def catch_up(lab: OracleLab) -> dict[str, int | float]:
    """A new node and a long past: events per second once it reads, and the most memory it held."""
    History(lab).write(PAST)
    head, node = lab.up.chain.head(), lab.provider()
    node.start()
    try:
        seen = _cursor(node, 0)
        begun, halfway, half_mb = time.perf_counter(), 0, 0.0
        while (at := _cursor(node, 1)) <= head:
            if not halfway and at > (seen + head) // 2:
                halfway, half_mb = at, node.peak_mb()
            time.sleep(0.005)
        taken = time.perf_counter() - begun
        peak = node.peak_mb()
    finally:
        node.stop()
    events = _events(lab, seen)
    return {
        "catchup_events_per_s": round(events / taken),
        "catchup_rss_mb": peak,
        "catchup_rss_halfway_mb": half_mb,
    }


def _cursor(node: Provider, least: int) -> int:
    """First block that the node hasn't read; waits until it says."""
    deadline = time.monotonic() + STARTED_S
    while not (rows := node.ask("SELECT block FROM cursors WHERE name = 'JobOpened'")) or rows[0][0] < least:
        node.check()
        if time.monotonic() > deadline:
            raise AssertionError("the node doesn't read the chain")
        time.sleep(0.002)
    return int(rows[0][0])


def _events(lab: OracleLab, since: int) -> int:
    view = lab.up.chain.at()
    return sum(1 for _ in view.events("JobMarket", "JobOpened", since=since, provider=lab.up.provider))


# Parts of it


def _meter(node: Provider) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.oracle_meter", str(node.config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise AssertionError(f"metering failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _knowing(node: Provider) -> Provider:
    """Give the node the spec of the jobs, as a buyer would before it asks for a quote."""
    store = Store.open(f"sqlite:///{node.state / 'oracle.db'}")
    if store.put_spec(SPEC, 1) != spec_hash(SPEC):
        raise AssertionError("another spec")
    store.close()
    return node


def _span(node: Provider, first: str) -> tuple[int, int]:
    """Unix milliseconds from the first job that got to a state until the last one settled."""
    query = (
        "SELECT min(at_ms) FROM steps WHERE state = ?",
        "SELECT max(at_ms) FROM steps WHERE state = 'settled'",
    )
    return int(node.ask(query[0], first)[0][0]), int(node.ask(query[1])[0][0])


def show(figures: Mapping[str, int | float]) -> None:
    """Print the figures beside the goals."""
    table = Table(title=f"the oracle on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name in ("figure", "measured", "goal"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for name, value in sorted(figures.items()):
        goal = GOALS.get(name)
        table.add_row(name, f"{value:,}", f"{goal:,}" if goal else "")
    Console().print(table)


PARTS: Final = {
    "growth": growth,
    "single": single,
    "whole": whole,
    "latency": latency,
    "catch_up": catch_up,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
