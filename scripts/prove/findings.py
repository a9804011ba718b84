"""Slither on the Foundry build.

A finding of high or medium impact is gone, or listed with a reason in docs/slither.md.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from scripts.prove import shell
from scripts.prove.result import Row, say

NAME = "slither"
CONFIG = shell.ROOT / "slither.config.json"
TRIAGE = shell.ROOT / "docs" / "slither.md"
REPORT = shell.BUILD / "slither.json"
SERIOUS = ("High", "Medium")
LISTED = re.compile(r"^\| (\w+) \| ([\w-]+) \| `([^`]+)` \| (\d+) \| (.+?) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What was found and where: a function, or a contract.

    Not at which line, so that edits elsewhere don't count.
    """

    impact: str
    check: str
    where: str


def read(report: dict[str, Any]) -> Counter[Finding]:
    """Serious findings of a report, and how often each was made."""
    results = report["results"].get("detectors", [])
    return Counter(
        Finding(result["impact"], result["check"], _place(result["elements"]))
        for result in results
        if result["impact"] in SERIOUS
    )


def _place(elements: list[dict[str, Any]]) -> str:
    for element in elements:
        fields = element.get("type_specific_fields", {})
        if element["type"] == "function":
            return f"{fields['parent']['name']}.{fields['signature']}"
        if element["type"] == "contract":
            return str(element["name"])
        if element["type"] == "variable":
            return f"{_parents(fields.get('parent'))}.{element['name']}"
    return "unknown"


def _parents(parent: dict[str, Any] | None) -> str:
    names: list[str] = []
    while parent and parent["type"] in ("contract", "function"):
        fields = parent.get("type_specific_fields", {})
        names.insert(0, str(fields.get("signature") or parent["name"]))
        parent = fields.get("parent")
    return ".".join(names)


def triaged(text: str) -> Counter[Finding]:
    """What the triage file lists, and how often."""
    return Counter(
        {Finding(impact, check, where): int(count) for impact, check, where, count, _ in LISTED.findall(text)}
    )


def compare(found: Counter[Finding], listed: Counter[Finding]) -> list[str]:
    """Findings without a reason, and reasons without a finding."""
    new = [
        f"new: {f.impact} {f.check} in {f.where} ({count} found, {listed[f]} listed)"
        for f, count in sorted(found.items())
        if count > listed[f]
    ]
    stale = [
        f"listed in docs/slither.md and not found any more: {f.check} in {f.where} ({found[f]} of {count})"
        for f, count in sorted(listed.items())
        if count > found[f]
    ]
    return new + stale


def run() -> Row:
    """Analyse, and compare with the triage file."""
    row = Row(NAME)
    shell.ensure_venv(lambda text: say(NAME, text))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.unlink(missing_ok=True)
    say(NAME, "building and analysing")
    settings = shell.build_settings(NAME)
    argv = (shell.VENV / "bin" / "slither", ".", "--config-file", CONFIG, "--json", REPORT)
    _, output = shell.stream(
        [*argv, "--foundry-out-directory", settings["FOUNDRY_OUT"]], settings, lambda line: None
    )
    if not REPORT.is_file():
        raise shell.ToolFailed(f"slither left no report:\n{output[-1500:]}")
    report = json.loads(REPORT.read_text())
    if not report["success"]:
        raise shell.ToolFailed(f"slither failed: {report['error']}")
    found = read(report)
    listed = triaged(TRIAGE.read_text()) if TRIAGE.is_file() else Counter[Finding]()
    row.problems += compare(found, listed)
    minor = sum(1 for result in report["results"].get("detectors", []) if result["impact"] not in SERIOUS)
    impacts = Counter(finding.impact for finding in found.elements())
    row.figures = (
        f"{impacts['High']} high and {impacts['Medium']} medium findings, "
        f"{sum((found & listed).values())} explained; {minor} lower ones"
    )
    return row
