"""What the commands of pipelines print: quotes, where a run stands, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrip.cli.context import Context
from scrip.cli.output import Token, clean, facts, hexed, table
from scrip.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from agents.pipeline.quote import Quote
    from agents.pipeline.run import Result
    from agents.pipeline.state import Snapshot
    from scrip.errors import EvidenceInvalid
    from scrip.evidence import Check


def emit_quote(context: Context, quoted: Quote, paid: Token) -> None:
    """The quote of a plan; raises what keeps it from being bought."""
    context.emit(
        {**quoted.to_json(), "total": paid.to_json(quoted.total)},
        lambda console: _show_quote(console, quoted, paid),
    )
    quoted.check()


def _show_quote(console: Console, quoted: Quote, paid: Token) -> None:
    rows = table("stage", "template", "provider", "class", "at most", "why", right=("class", "at most"))
    for each in quoted.stages:
        for number, choice in enumerate(each.choices):
            rows.add_row(
                each.stage.name if number == 0 else "",
                each.stage.template if number == 0 else "if that fails",
                choice.listing.provider.address,
                str(choice.listing.info.class_id),
                paid.text(each.most) if number == 0 else "",
                clean(each.problem or choice.reason),
            )
        if not each.choices:
            rows.add_row(each.stage.name, each.stage.template, "", "", "", clean(each.problem))
    console.print(rows)
    facts(console, [("to set aside", paid.text(quoted.total))])


def emit_standing(context: Context, now: Snapshot, paid: Token) -> None:
    """Where an interrupted run stands: each stage with what is set aside for it and what it spent."""
    stages = [
        {
            "stage": name,
            "status": record.status.value,
            "setAside": paid.to_json(record.most),
            "spent": paid.to_json(record.spent),
            "detail": record.detail,
        }
        for name, record in now.stages.items()
    ]

    def show(console: Console) -> None:
        rows = table("stage", "status", "set aside", "spent", "detail", right=("set aside", "spent"))
        for name, record in now.stages.items():
            amounts = (paid.text(record.most), paid.text(record.spent))
            rows.add_row(name, record.status.value, *amounts, clean(record.detail))
        console.print(rows)

    context.emit({"phase": now.phase.value, "stages": stages}, show)


def emit_result(context: Context, folder: Path, result: Result, paid: Token) -> None:
    """How a run ended. Raises Refused where a stage isn't at an end or didn't settle."""
    from agents.pipeline.driver import RECEIPT

    receipt = str(folder / RECEIPT)
    root = hexed(result.tree.root)
    data = {**result.to_json(), "root": root, "receipt": receipt, "spent": paid.to_json(result.spent)}

    def show(console: Console) -> None:
        rows = table(
            "stage", "status", "provider", "units", "cost", "spent", "detail", right=("units", "cost")
        )
        for name, record in result.stages.items():
            rows.add_row(
                name,
                "unfinished" if name in result.unfinished else record.status.value,
                record.terms.get("provider", ""),
                str(record.units),
                paid.text(record.cost),
                paid.text(record.spent),
                clean(result.unfinished.get(name, record.detail)),
            )
        console.print(rows)
        facts(console, [("spent", paid.text(result.spent)), ("root", root), ("receipt", receipt)])

    context.emit(data, show)
    if result.unfinished:
        names = ", ".join(result.unfinished)
        raise Refused(f"not at an end: {names}. Go on with: scrip pipeline resume {folder}", "pipeline")
    if not result.complete:
        failed = [name for name, record in result.stages.items() if record.status.value != "settled"]
        raise Refused(f"stages that didn't settle: {', '.join(failed)}", "pipeline")


def checks_json(passed: list[Check], problem: EvidenceInvalid | None) -> dict[str, Any]:
    """Checks passed, and the one that failed."""
    return {
        "ok": problem is None,
        "checks": [{"name": check.name, "detail": check.detail} for check in passed],
        "failed": None if problem is None else {"name": problem.check, "detail": problem.detail},
    }
