"""The page's sections, read and put into JSON together: once for all viewers."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from oracle.health import NotWell, Pulse
from oracle.metrics import Metrics
from oracle.operator import view
from oracle.operator.book import Books, Reader
from oracle.operator.costs import TokenBook
from oracle.operator.faults import LogTail
from oracle.operator.figures import ChainFigures
from oracle.operator.trouble import declined, trouble
from oracle.quorum import Standing
from oracle.settings import Settings
from oracle.states import State
from oracle.store import NOBODY, Store
from oracle.telemetry.latest import LatestGpus
from scrip.errors import ChainError
from scrip.rates import Rate

Sections = dict[str, str]
"""JSON by section."""


@dataclass(frozen=True, slots=True)
class PageParts:
    """What the page shows. `oracle` is our key's address, None in a dry run."""

    settings: Settings
    store: Store
    metrics: Metrics
    pulse: Pulse
    gpus: LatestGpus
    standing: Callable[[bytes], Standing | None]
    figures: ChainFigures
    log: LogTail
    oracle: str | None
    chain_id: int
    started_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


class Page:
    """Builds sections. `local` and `chain` are each called by one thread at a time."""

    def __init__(self, parts: PageParts) -> None:
        self._parts, self._reader, self._tokens = parts, Reader(parts.store), TokenBook(parts.store)
        self._problem, self._settled = "", -1
        self._rates = _rates(parts.settings)
        self.chain_is_due = True
        """Whether something has happened that the chain should be asked about at once."""

    def chain(self) -> None:
        """Ask the chain, and count tokens. A chain that is away is told on the page."""
        self.chain_is_due = False
        try:
            self._parts.figures.refresh()
            self._problem = ""
        except ChainError as away:
            self._problem = f"{type(away).__name__}: {away}"
        self._tokens.refresh()

    def local(self) -> Sections:
        """Every section as of now. Raises the database's error."""
        parts, books, figures = self._parts, self._reader.read(), self._parts.figures.now
        self._note(books)
        gpus = parts.gpus.look()
        running = frozenset(row.job_id for row in books.active if row.at is State.EXECUTING)
        offer, well = parts.settings.of_provider(), self._health()
        faults = trouble(books.refusals, books.steps, parts.log.newest(), gpus, well)
        found = {
            "node": self._node(well),
            "gpus": view.gpus(gpus, running),
            "jobs": view.jobs(books, figures),
            "queue": view.queue(books, figures, slots=offer.slots, places=offer.queue),
            "receipts": view.receipts(books, figures, parts.standing),
            "earnings": view.earnings(figures, self._problem),
            "costs": view.costs(self._tokens.sums, figures, self._rates),
            "faults": {"rows": faults, "declined": declined(_declined(parts.metrics))},
        }
        return {name: json.dumps(value, separators=(",", ":")) for name, value in found.items()}

    def _note(self, books: Books) -> None:
        """What of these books the chain is to be asked about."""
        figures = self._parts.figures
        rows = (*books.active, *books.ended)
        sets = {view.watcher_set(row, books, figures.now) for row in books.active if row.at in view.UNSIGNED}
        unknown = figures.want({row.terms.class_id for row in rows}, sets - {0})
        settled = books.counts[State.SETTLED]
        if unknown or settled != self._settled:
            self._settled, self.chain_is_due = settled, True

    def _health(self) -> str:
        try:
            self._parts.pulse.check()
        except NotWell as problem:
            return str(problem)
        return ""

    def _node(self, problem: str) -> view.Json:
        parts = self._parts
        return {
            "provider": parts.settings.of_provider().address,
            "oracle": parts.oracle,
            "chainId": str(parts.chain_id),
            "simulated": parts.gpus.simulated,
            "dryRun": parts.settings.dry,
            "leads": parts.store.epoch != NOBODY,
            "well": not problem,
            "startedMs": parts.started_ms,
        }


def _rates(settings: Settings) -> dict[int, list[Rate]]:
    """The gateway's prices by class, those alike once."""
    found: dict[int, list[Rate]] = defaultdict(list)
    for row in () if settings.gateway is None else settings.gateway.rates:
        if row.rate not in found[row.class_id]:
            found[row.class_id].append(row.rate)
    return dict(found)


def _declined(metrics: Metrics) -> dict[str, int]:
    samples = (sample for family in metrics.quotes.collect() for sample in family.samples)
    return {
        sample.labels["result"]: int(sample.value)
        for sample in samples
        if sample.name.endswith("_total") and sample.labels["result"] != "signed"
    }
