"""Long invariant campaigns, in chunks of their own seeds: an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.prove import shell
from scripts.prove.result import Row, say
from scripts.prove.scale import FULL, Scale
from scripts.prove.sources import Sources, below, digest

NAME = "campaigns"
TESTS = "tests/solidity/invariants/*"
STORE = shell.BUILD / "campaigns.json"
# Of any state, a chunk takes a minute or a few: often enough to see it move, seldom enough not to start forge
# in vain.
CALLS_PER_CHUNK = 5_000
PASSED = re.compile(r"^\[PASS\] (invariant\w*)\(\) \(runs: (\d+), calls: (\d+), reverts: (\d+)", re.MULTILINE)
FAILED = re.compile(r"^\[FAIL:? ?(.*?)\]?\s+(invariant\w*)\(\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Runs that share a seed."""

    seed: int
    runs: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one chunk: the invariants that held and the calls made for them, and what was broken."""

    held: int
    calls: int
    broken: tuple[str, ...] = ()


def chunks(scale: Scale) -> list[Chunk]:
    """The runs of a campaign, cut up.

    Seeds count from 1, so a longer campaign begins with the shorter one's chunks.
    """
    size = max(1, CALLS_PER_CHUNK // scale.depth)
    starts = range(0, scale.runs, size)
    return [Chunk(seed, min(size, scale.runs - start)) for seed, start in enumerate(starts, start=1)]


def read(output: str) -> Outcome:
    """What forge's output says."""
    held = PASSED.findall(output)
    broken = tuple(f"{name}: {why or 'failed'}" for why, name in FAILED.findall(output))
    return Outcome(len(held), sum(int(calls) for _, _, calls, _ in held), broken)


def run(scale: Scale) -> Row:
    """Run what isn't stored yet of this scale."""
    row = Row(NAME)
    # What the campaigns are made of: a unit test that changes doesn't make them begin anew. They deploy the
    # contracts by name, so no import leads to those.
    handlers = Sources(shell.ROOT).closure(*below(shell.ROOT, "tests/solidity/invariants"))
    key = f"{digest(below(shell.ROOT, 'contracts') | handlers)} {scale.depth}"
    stored = _load(STORE).get(key, {})
    todo = chunks(scale)
    outcomes: list[Outcome] = []
    started = time.monotonic()
    for number, chunk in enumerate(todo, start=1):
        name = f"{chunk.seed}/{chunk.runs}"
        if name in stored:
            outcomes.append(Outcome(**stored[name]))
        else:
            outcomes.append(_run_chunk(chunk, scale))
            if not outcomes[-1].broken:
                stored[name] = {"held": outcomes[-1].held, "calls": outcomes[-1].calls}
                _save(STORE, key, stored)
        calls = sum(outcome.calls for outcome in outcomes)
        say(NAME, f"{number} of {len(todo)} chunks, {calls:,} calls, {time.monotonic() - started:.0f} s")
        if outcomes[-1].broken:
            row.problems += [f"seed {chunk.seed}: {line}" for line in outcomes[-1].broken]
            break
    _describe(row, outcomes, scale, sum(chunk.runs for chunk in todo[: len(outcomes)]))
    return row


def _describe(row: Row, outcomes: list[Outcome], scale: Scale, runs: int) -> None:
    held = max((outcome.held for outcome in outcomes), default=0)
    calls = sum(outcome.calls for outcome in outcomes)
    row.figures = f"{held} invariants, {runs:,} runs of {scale.depth} calls each; {calls:,} calls"
    if not row.problems and held == 0:
        row.problems.append("no invariant was found")
    if (scale.runs, scale.depth) != (FULL.runs, FULL.depth):
        row.reduced = (
            f"SCALE={scale.name}: {scale.runs:,} runs of {scale.depth}; full is {FULL.runs:,} of {FULL.depth}"
        )


def _run_chunk(chunk: Chunk, scale: Scale) -> Outcome:
    settings = {
        "FOUNDRY_INVARIANT_RUNS": str(chunk.runs),
        "FOUNDRY_INVARIANT_DEPTH": str(scale.depth),
        "FOUNDRY_INVARIANT_SHOW_METRICS": "false",
        "FOUNDRY_INVARIANT_FAILURE_PERSIST_DIR": str(shell.BUILD / "failures"),
    }
    argv = (
        shell.FORGE,
        "test",
        "--match-path",
        TESTS,
        "--match-test",
        "invariant",
        "--fuzz-seed",
        str(chunk.seed),
    )
    status, output = shell.stream(argv, settings, lambda line: None)
    outcome = read(output)
    if status != 0 and not outcome.broken:
        raise shell.ToolFailed(f"forge ended with {status}:\n{output[-1500:]}")
    if outcome.broken:
        (shell.BUILD / f"campaign-{chunk.seed}.log").write_text(output)
    return outcome


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    stored: dict[str, Any] = json.loads(path.read_text())
    return stored


def _save(path: Path, key: str, chunks_done: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**_load(path), key: chunks_done}, indent=1))
