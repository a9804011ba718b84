"""Halmos: each `check_` function of tests/halmos holds for all inputs and every state it assumes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.prove import shell
from scripts.prove.result import Row, say

NAME = "halmos"
SETTINGS = {"FOUNDRY_PROFILE": "halmos"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
RESULT = re.compile(r"^\[(PASS|FAIL|TIMEOUT|ERROR)\] (check_\w+)\(")
SUITE = re.compile(r"^Running \d+ tests? for (\S+):(\w+)$")


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


def written() -> set[str]:
    """Names of all proofs there are."""
    folder = shell.ROOT / "tests" / "halmos"
    return {
        name
        for file in sorted(folder.glob("*.t.sol"))
        for name in re.findall(r"function (check_\w+)\(", file.read_text())
    }


def run() -> Row:
    """Prove everything there is."""
    row = Row(NAME)
    shell.ensure_venv(lambda text: say(NAME, text))
    say(NAME, "building")
    status, output = shell.stream((shell.FORGE, "build", "--ast"), SETTINGS, lambda line: None)
    if status != 0:
        raise shell.ToolFailed(f"the proofs do not compile:\n{output[-1500:]}")
    argv = (shell.VENV / "bin" / "halmos", "--root", ".", "--config", "halmos.toml")
    _, output = shell.stream(argv, SETTINGS, _progress)
    checked = read(output)
    if not checked:
        raise shell.ToolFailed(f"halmos proved nothing:\n{output[-1500:]}")
    proven = {item.function for item in checked if item.result == "PASS"}
    row.figures = f"{len(proven)} of {len(written())} properties proven, in {_contracts(checked)} contracts"
    row.problems += [f"{c.result.lower()}: {c.contract}.{c.function}" for c in checked if c.result != "PASS"]
    row.problems += [f"not run: {name}" for name in sorted(written() - {item.function for item in checked})]
    return row


def _contracts(checked: list[Checked]) -> int:
    return len({item.contract for item in checked})


def _progress(line: str) -> None:
    plain = ANSI.sub("", line)
    if RESULT.match(plain) or SUITE.match(plain) or plain.startswith("Error"):
        say(NAME, plain.partition("(")[0])
