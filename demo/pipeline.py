"""The demonstration's pipeline: retrieve, summarise, check, by two providers, with one receipt for all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from agents.ledger import Ledger
from agents.market import listings
from agents.pipeline import verify
from agents.pipeline.driver import RECEIPT, Driver, Source
from agents.pipeline.funds import Actor
from agents.pipeline.plan import Plan
from agents.pipeline.quote import Quote
from agents.pipeline.run import Result
from agents.pipeline.state import OUTPUTS
from demo.book import usd
from demo.files import document
from demo.stack import Stack
from scrip.amounts import format_units
from scrip.errors import ScripError

PLAN = document("grounded-summary.toml")


@dataclass(frozen=True, slots=True)
class Shown:
    """What the pipeline came to: quote, result, what its stages gave, how many checks its receipt passed."""

    quote: Quote
    result: Result
    outputs: Mapping[str, bytes]
    checks: int
    reserved: int

    @property
    def providers(self) -> int:
        """How many providers did the work."""
        return len({record.terms["provider"] for record in self.result.stages.values()})

    @property
    def score(self) -> int:
        """How much of the summary its passages back, in hundredths of a percent."""
        return int(json.loads(self.outputs["check"])["scoreBps"])


def run(up: Stack, question: str, document: str, limit: int) -> Shown:
    """Quote and run the plan as the stranger, within `limit` (base units), and verify its receipt.

    Raises ScripError if a stage doesn't settle, more was spent than set aside, or the receipt doesn't hold.
    """
    actor = Actor(up.chain, up.sender("stranger"), up.accounts["stranger"])
    with tempfile.TemporaryDirectory(prefix="scrip-pipeline-", dir=up.layout.root) as place:
        folder = Path(place)
        ledger = Ledger(folder / "spent.json", limit)
        source, plan = Source(up.payment_token, ledger), Plan.load(PLAN)
        driver, inputs = Driver(actor, listings), {"question": question, "document": document}
        quoted = driver.quote(plan, inputs, source)
        result = driver.start(folder / "run", plan, inputs, source, quoted)
        if not result.complete or result.spent > quoted.total or ledger.spent() != result.spent:
            raise ScripError(f"the pipeline didn't go as planned: {result.to_json()}, quoted {quoted.total}")
        passed = list(verify.checks((folder / "run" / RECEIPT).read_bytes(), up.rpc_url))
        outputs = {name: (folder / "run" / OUTPUTS / name).read_bytes() for name in plan.order()}
    return Shown(quoted, result, outputs, len(passed), quoted.total)


def table(up: Stack, shown: Shown) -> Table:
    """The stages: who did them, in which class, what was quoted, used and paid."""
    made = Table(title=f"pipeline {PLAN.stem}: at most {usd(shown.reserved)} set aside")
    for name in ("stage", "provider", "class", "quoted at most", "used", "cost"):
        made.add_column(name, justify="right" if name in ("used", "cost", "quoted at most") else "left")
    view = up.chain.at()
    for name, record in shown.result.stages.items():
        terms = view.class_terms(int(record.terms["classId"]))
        made.add_row(
            name,
            f"{record.terms['provider'][:10]}..",
            terms.name,
            usd(record.most),
            f"{format_units(record.units, terms.decimals)} {terms.resource.label}s",
            usd(record.cost),
        )
    return made
