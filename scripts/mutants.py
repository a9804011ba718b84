"""Whether the campaign of the invariants sees what it says it sees: one mutant of the contracts a number.

`python -m scripts.mutants [NN ...]` copies the contracts and their tests to a temporary folder, applies each
patch of tests/solidity/invariants/mutants/ in turn and runs the campaign, which must fail and name the number
of the patch. It needs what `make setup` installs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = ROOT / "tests" / "solidity" / "invariants" / "mutants"
CAMPAIGN = "tests/solidity/invariants/Invariants.t.sol"
COPIED = ("contracts", "tests/solidity", "scripts", "foundry.toml", "package.json")
LINKED = ("node_modules",)
BUILD = "build/forge"
BROKEN = re.compile(r"^\[FAIL[^\n]*?broken rules: ([^\n]*)", re.MULTILINE)
RULE = re.compile(r"\[(\d+)\] ([^;]*);")
# A failure after a run, when everybody has left, does not end the campaign: a quarter of it is enough.
SHORT = {"FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0", "FOUNDRY_INVARIANT_RUNS": "64"}
SEEDS = (0x5C219, 1, 2, 3, 4, 5)
METRIC = re.compile(r"^\| Handler +\| \w+ +\| (\d+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the campaign said of one mutant: the rules it saw broken, by number, after so many calls."""

    name: str
    rules: dict[int, str]
    calls: int
    seconds: float
    output: str

    @property
    def number(self) -> int:
        """The rule that the mutant is there to break."""
        return int(self.name.split("-", 1)[0])

    @property
    def killed(self) -> bool:
        return self.number in self.rules


def patches(numbers: Sequence[str]) -> list[Path]:
    """The patches with these numbers, or all of them; `SystemExit` names a number that has none."""
    every = sorted(MUTANTS.glob("[0-9][0-9]-*.patch"))
    if not numbers:
        return every
    wanted = {number.zfill(2) for number in numbers}
    if missing := wanted - {path.name[:2] for path in every}:
        raise SystemExit(f"no mutant {', '.join(sorted(missing))} in {MUTANTS.relative_to(ROOT)}")
    return [path for path in every if path.name[:2] in wanted]


def copy_project(target: Path) -> None:
    """Everything forge needs; what it has compiled, too, so that a mutant recompiles only what it touches."""
    for name in COPIED:
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)
    for name in LINKED:
        (target / name).symlink_to((ROOT / name).resolve())
    (target / ".solcx").mkdir()
    for compiler in (ROOT / ".solcx").resolve().glob("solc-*"):
        link = target / ".solcx" / compiler.name
        if compiler.resolve().name == "solc.cjs":
            link.symlink_to("../scripts/solc.cjs")
        else:
            link.symlink_to(compiler.resolve())
    if (ROOT / BUILD).is_dir():
        shutil.copytree(ROOT / BUILD, target / BUILD, ignore=shutil.ignore_patterns("failures"))


def apply(patch: Path, folder: Path, *, undo: bool = False) -> None:
    """Apply the patch in the folder or take it back; `CalledProcessError` if it does not fit."""
    flags = ["-R"] if undo else []
    subprocess.run(["git", "apply", *flags, str(patch)], cwd=folder, check=True)


def verdict(name: str, output: str, seconds: float) -> Verdict:
    """Read what forge printed."""
    rules: dict[int, str] = {}
    for failure in BROKEN.findall(output):
        rules |= {int(number): what.strip() for number, what in RULE.findall(failure)}
    calls = sum(int(count) for count in METRIC.findall(output))
    return Verdict(name, rules, calls, seconds, output)


def run_campaigns(name: str, folder: Path) -> Verdict:
    """Campaigns from one seed after the other, until one breaks the rule that the mutant is there to break.

    A campaign ends at the first broken rule, and a wrong contract often breaks several.
    """
    for seed in SEEDS:
        result = run_campaign(name, folder, seed)
        if result.killed or not result.rules:
            break
    return result


def run_campaign(name: str, folder: Path, seed: int) -> Verdict:
    """Run a short campaign on what is in the folder: up to the first broken rule, without shrinking."""
    started = time.monotonic()
    shutil.rmtree(folder / BUILD / "failures", ignore_errors=True)
    argv = [str((ROOT / "node_modules/.bin/forge").absolute()), "test", "--match-path", CAMPAIGN]
    argv += ["--match-test", "invariant_", "--fuzz-seed", str(seed)]
    environment = {**SHORT, **os.environ}
    done = subprocess.run(
        argv,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return verdict(name, done.stdout + done.stderr, time.monotonic() - started)


def line(result: Verdict) -> str:
    """One line of the table."""
    others = sorted(set(result.rules) - {result.number})
    seen = result.rules.get(result.number, "NOT SEEN")
    also = f" (also {', '.join(map(str, others))})" if others else ""
    state = "killed" if result.killed else "ALIVE"
    return f"{result.name:45} {state:6} {result.calls:6} calls {result.seconds:5.0f} s  {seen}{also}"


def main(arguments: Sequence[str]) -> int:
    """Run the mutants and return the exit status: 1 if one of them lives."""
    alive = 0
    with tempfile.TemporaryDirectory(prefix="scrip-mutants-") as name:
        folder = Path(name)
        copy_project(folder)
        for patch in patches(arguments):
            apply(patch, folder)
            result = run_campaigns(patch.stem, folder)
            apply(patch, folder, undo=True)
            print(line(result), flush=True)
            if not result.killed:
                alive += 1
                print(result.output[-3000:], file=sys.stderr)
    print(f"{alive} alive" if alive else "all killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
