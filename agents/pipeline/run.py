"""Runs a plan: every stage as soon as what it needs is there, side by side where the graph allows.

A stage is met by `work` (the buying loop, `agents.pipeline.funds`), under a key of its own, so that whatever
happens it is paid once. A stage that fails stops what depends on it, and nothing else. One whose outcome
isn't known (a kill, a node that doesn't answer, a job that takes longer) leaves the run unfinished: resuming
it takes that stage up where it was left.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, Final, Protocol

from agents.buyer import Bought
from agents.ledger import LimitReached
from agents.pipeline import refs
from agents.pipeline.fit import DoesNotFit
from agents.pipeline.plan import Plan, Stage
from agents.pipeline.refs import OutputUnusable
from agents.pipeline.state import StageRecord, StageStatus, State
from agents.pipeline.tree import ReceiptTree, StageLeaf
from agents.policy import Need
from scrip.budgets import BudgetRefused
from scrip.errors import BadInput, EvidenceInvalid, Refused, ScripError
from scrip.spec import JobSpec
from scrip.types import JobTerms, Receipt

FAILED: Final = (
    Refused,
    LimitReached,
    BudgetRefused,
    EvidenceInvalid,
    OutputUnusable,
    DoesNotFit,
)
"""Errors after which a stage has failed, unless one of its jobs isn't at an end. After any other it may come
to something yet.
"""

MOST_AT_ONCE: Final = 8


class Work(Protocol):
    """Has one stage done."""

    def meet(self, stage: Stage, need: Need, price: int) -> Bought:
        """The verified result of a job priced at `price` at most; the same if it was had before.

        Raises ScripErrors.
        """

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """What has been spent on a stage so far, failed tries included."""

    def is_open(self, stage: Stage) -> bool:
        """Whether one of its jobs may still cost something, or was paid and its result isn't had yet."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `unfinished` are stages whose outcome isn't known yet, with the reason."""

    stages: Mapping[str, StageRecord]
    tree: ReceiptTree
    unfinished: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every stage settled."""
        return all(record.status is StageStatus.SETTLED for record in self.stages.values())

    @property
    def spent(self) -> int:
        """What all stages took together, payment-token base units."""
        return sum(record.spent for record in self.stages.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON object."""
        rows = [
            {
                "stage": name,
                "status": record.status.value,
                "units": str(record.units),
                "cost": str(record.cost),
                "spent": str(record.spent),
                "job": record.receipt.get("jobId"),
                "provider": record.terms.get("provider"),
                "simulated": record.simulated,
                "detail": self.unfinished.get(name, record.detail),
            }
            for name, record in self.stages.items()
        ]
        return {"complete": self.complete, "spent": str(self.spent), "stages": rows}


class Run:
    """One run of a plan, from wherever its state says it stands."""

    def __init__(
        self,
        state: State,
        work: Work,
        *,
        on_step: Callable[[str, str], None] = lambda _stage, _text: None,
        at_once: int = MOST_AT_ONCE,
    ) -> None:
        """`on_step` is told of each stage's steps, from any thread; `at_once` bounds stages side by side."""
        self._state, self._work, self._on_step, self._at_once = state, work, on_step, at_once
        self._plan: Plan = state.now.plan
        self._unfinished: dict[str, str] = {}

    def go(self) -> Result:
        """Run what isn't at an end. Anything but a ScripError in a stage is raised once the others ended."""
        graph, done = self._plan.graph(), queue.SimpleQueue[tuple[str, BaseException | None]]()
        graph.prepare()
        waiting: list[str] = []
        running: set[str] = set()
        bug: BaseException | None = None
        while graph.is_active():
            waiting += self._ready(graph)
            while waiting and len(running) < self._at_once and bug is None:
                running.add(name := waiting.pop(0))
                # Daemons: an interrupt need not wait for jobs, the state remembers them.
                threading.Thread(
                    target=self._thread, args=(name, done), name=f"stage {name}", daemon=True
                ).start()
            if not running:
                break
            name, error = done.get()
            running.discard(name)
            graph.done(name)
            bug = bug or error
        if bug is not None:
            raise bug
        return self._result()

    def _ready(self, graph: TopologicalSorter[str]) -> list[str]:
        """Stages to run now. `graph` gives a stage once its parents are at an end, whatever came of them."""
        found: list[str] = []
        while names := graph.get_ready():
            for name in names:
                if self._runnable(name):
                    found.append(name)
                else:
                    graph.done(name)
        return found

    def _runnable(self, name: str) -> bool:
        """Whether a stage whose parents are at an end is to be run; one that can't be is written down."""
        record = self._state.stage(name)
        if record.status in (StageStatus.SETTLED, StageStatus.FAILED, StageStatus.SKIPPED):
            return False
        parents = {parent: self._state.stage(parent).status for parent in self._plan.stage(name).parents}
        lost = [
            each for each, status in parents.items() if status in (StageStatus.FAILED, StageStatus.SKIPPED)
        ]
        if lost:
            self._say(name, f"skipped: it needs {', '.join(lost)}")
            self._state.set_stage(name, status=StageStatus.SKIPPED, detail=f"it needs {', '.join(lost)}")
            return False
        open_ = [each for each, status in parents.items() if status is not StageStatus.SETTLED]
        if open_:
            self._unfinished[name] = f"waits for {', '.join(open_)}"
        return not open_

    def _thread(self, name: str, done: queue.SimpleQueue[tuple[str, BaseException | None]]) -> None:
        try:
            self._stage(self._plan.stage(name))
        except BaseException as error:
            done.put((name, error))
        else:
            done.put((name, None))

    def _stage(self, stage: Stage) -> None:
        bought: Bought | None = None
        try:
            need = self._need(stage)
            record = self._state.set_stage(stage.name, status=StageStatus.STARTED)
            bought = self._work.meet(stage, need, record.price)
            self._state.keep_output(stage.name, bought.redemption.output)
        except ScripError as error:
            self._stopped(stage, error)
        else:
            self._settled(stage, bought)

    def _stopped(self, stage: Stage, error: ScripError) -> None:
        """Write down that the stage failed, if that is what the error means."""
        if not isinstance(error, FAILED) or self._work.is_open(stage):
            self._say(stage.name, f"unfinished: {error}")
            self._unfinished[stage.name] = str(error)
            return
        self._say(stage.name, f"failed: {error}")
        spent = self._work.spent(stage, None)
        self._state.set_stage(stage.name, status=StageStatus.FAILED, detail=str(error), spent=spent)

    def _need(self, stage: Stage) -> Need:
        """The stage's need with everything in place, under the key it always has in this run."""
        outputs = {source: self._state.output(source) for source in stage.sources}
        params = refs.resolve(stage.params, outputs, self._state.now.inputs)
        try:
            spec = JobSpec(stage.template, params)
        except BadInput as error:
            raise DoesNotFit(stage.name, stage.template, [str(error)]) from None
        return stage.need(spec.params, key=self._state.key(stage.name))

    def _settled(self, stage: Stage, bought: Bought) -> None:
        done, listing = bought.redemption, bought.choice.listing
        record = self._state.set_stage(
            stage.name,
            status=StageStatus.SETTLED,
            detail=bought.choice.reason,
            spent=self._work.spent(stage, bought),
            units=done.ending.units,
            cost=listing.cost(done.ending.units),
            terms=done.plan.terms.to_json(),
            receipt=done.receipt.to_json(),
            tx="0x" + done.ending.tx_hash.hex(),
            simulated=done.simulated,
            tried=len(bought.tries),
        )
        self._say(stage.name, f"settled for {record.units} units: {bought.choice.reason}")

    def _result(self) -> Result:
        order = self._plan.order()
        stages = {name: self._state.stage(name) for name in order}
        return Result(stages, tree_of(self._state), dict(self._unfinished))

    def _say(self, name: str, text: str) -> None:
        self._on_step(name, text)


def tree_of(state: State) -> ReceiptTree:
    """The receipt of a run, over the stages that have settled so far."""
    now = state.now
    records = {name: state.stage(name) for name in now.plan.order()}
    settled = {name: record for name, record in records.items() if record.status is StageStatus.SETTLED}
    leaves = tuple(
        StageLeaf(
            stage=name,
            terms=JobTerms.from_json(record.terms),
            receipt=Receipt.from_json(record.receipt),
            inputs=tuple((source, settled[source].output_hash) for source in now.plan.stage(name).sources),
            units=record.units,
            cost=record.cost,
        )
        for name, record in settled.items()
    )
    digest = now.plan.digest(now.inputs)
    return ReceiptTree(
        now.plan.name, now.chain_id, now.market, digest, now.payer, len(now.plan.stages), leaves
    )
