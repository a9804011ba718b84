"""Halmos: each `check_` function of tests/halmos holds for all inputs and every state it assumes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.prove import shell
from scripts.prove.result import Row, say

NAME = "halmos"
OUT = "build/prove/halmos/out"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
RESULT = re.compile(r"^\[(PASS|FAIL|TIMEOUT|ERROR)\] (check_\w+)\(")
SUITE = re.compile(r"^Running \d+ tests? for (\S+):(\w+)$")
# Products and quotients: over the integers cvc5 proves in a second what no solver of bit vectors does in an
# hour.
INTEGERS = "Arithmetic"


@dataclass(frozen=True, slots=True)
class Checked:
    """One function and what became of it."""

    contract: str
    function: str
    result: str


def read(output: str) -> list[Checked]:
    """What Halmos's output says."""
    found = []
    contract = ""
    for line in ANSI.sub("", output).splitlines():
        if suite := SUITE.match(line.strip()):
            contract = suite.group(2)
        elif result := RESULT.match(line.strip()):
            found.append(Checked(contract, result.group(2), result.group(1)))
    return found


def run() -> Row:
    """Prove everything: first what bit vectors are good for, then what integers are."""
    row = Row(NAME)
    shell.ensure_venv(lambda text: say(NAME, text))
    checked: list[Checked] = []
    integers = (f"{shell.VENV / 'bin' / 'python'} -m", str(shell.ROOT / "scripts" / "prove" / "integers.py"))
    passes = (
        (f"^(?!.*{INTEGERS}).*$", ()),
        (f"^.*{INTEGERS}.*$", ("--solver-command", f"{integers[0].removesuffix(' -m')} {integers[1]}")),
    )
    for contracts, options in passes:
        argv = (
            shell.VENV / "bin" / "halmos",
            "--root",
            ".",
            "--config",
            "halmos.toml",
            "--forge-build-out",
            OUT,
        )
        settings = {"FOUNDRY_PROFILE": "halmos"}
        _, output = shell.stream([*argv, "--match-contract", contracts, *options], settings, _progress)
        found = read(output)
        if not found:
            raise shell.ToolFailed(f"halmos proved nothing of {contracts}:\n{output[-1500:]}")
        checked += found
    proven = sum(1 for item in checked if item.result == "PASS")
    row.figures = (
        f"{proven} of {len(checked)} properties proven, in {len({c.contract for c in checked})} contracts"
    )
    row.problems += [f"{c.result.lower()}: {c.contract}.{c.function}" for c in checked if c.result != "PASS"]
    return row


def _progress(line: str) -> None:
    plain = ANSI.sub("", line)
    if (
        RESULT.match(plain)
        or SUITE.match(plain)
        or plain.startswith(("Compiling", "Error", "ERROR", "WARNING"))
    ):
        say(NAME, plain)
