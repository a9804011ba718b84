"""Gas in the prose is the gas that was measured: README, changelog and decisions against `bench/gas.json`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from bench.gas import PEERS, RESULTS

ROOT: Final = Path(__file__).resolve().parents[2]
ROWS: Final = {
    "open a job": "open",
    "open a job through a budget two levels deep": "open_budget_2",
    "submit: burn, pay-out and refund in one transaction": "submit",
    "a whole job, opened with a quote": "job_whole",
    "a job in a batch of 100, two watchers": "submit_batch_100",
    "a voucher in a batch of 100 sessions": "claim_batch_100",
    "ERC-1155 transfer with its policy checks": "transfer_1155",
}
"""Rows of README's table by what `bench.gas` calls them."""
WHOLE_JOB: Final = {
    "CHANGELOG.md": r"quoted job costs ([\d,]+) gas",
    "docs/decisions.md": r"\*\*A whole job costs ([\d,]+) gas",
}


def table(text: str) -> dict[str, tuple[int | None, ...]]:
    """Figures by row of the table of gas; None where a cell is empty."""
    head = "| | gas | others |\n|---|---:|---:|\n"
    lines = text.partition(head)[2].partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: tuple(int(one.replace(",", "")) if one else None for one in rest) for name, *rest in cells}


def test_readme__table_of_gas__is_what_was_measured() -> None:
    measured = json.loads(RESULTS.read_text("utf-8"))
    wanted = {row: (measured[key], PEERS.get(key)) for row, key in ROWS.items()}
    assert table((ROOT / "README.md").read_text("utf-8")) == wanted


@pytest.mark.parametrize(("file", "words"), WHOLE_JOB.items(), ids=WHOLE_JOB)
def test_prose__gas_of_a_whole_job__is_what_was_measured(file: str, words: str) -> None:
    found = re.findall(words, (ROOT / file).read_text("utf-8"))
    assert found == [f"{json.loads(RESULTS.read_text('utf-8'))['job_whole']:,}"]
