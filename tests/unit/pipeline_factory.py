"""Plans, and a buying loop that plays every provider, for the pipelines' tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from agents.buyer import Bought
from agents.pipeline.plan import Plan, Stage
from agents.pipeline.state import Snapshot, StageRecord
from agents.policy import Choice, Need
from scrip.eip712 import job_id
from scrip.errors import ScripError
from scrip.jobs import Ending
from scrip.redeem import Plan as JobPlan
from scrip.redeem import Redemption
from scrip.spec import spec_hash
from scrip.types import JobTerms, Outcome, Receipt, Status
from tests.unit.agent_factory import TOKEN, listing

CHAIN_ID, MARKET, PAYER = 31337, "0x" + "33" * 20, "0x" + "22" * 20
UNITS = 100
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
"""Where files are in memory, if there is such a place: thousands of writes wait for the disk otherwise."""


def stage(name: str, sources: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """A stage as a plan file has it, which takes the outputs of others as its question."""
    parts: list[Any] = [f"{name}:", *({"from": source} for source in sources)]
    return {
        "name": name,
        "template": "llm.generate",
        "params": {"question": {"join": parts}},
        "resource": "OUTPUT_TOKEN",
        "max_units": UNITS,
        **changes,
    }


def plan(edges: Mapping[str, Sequence[str]], **changes: Any) -> Plan:
    """A plan of stages by name, each with the stages it takes from."""
    rows = [stage(name, sources) for name, sources in edges.items()]
    return Plan.parse({"name": "test", "stage": rows, **changes})


def downstream(of: Plan, name: str) -> set[str]:
    """Every stage that can't run without this one."""
    found: set[str] = set()
    for each in of.order():
        if {name, *found} & set(of.stage(each).parents):
            found.add(each)
    return found


def snapshot(of: Plan, most: int = UNITS) -> Snapshot:
    """A run of it that hasn't begun; `most` is set aside for each stage."""
    return Snapshot(
        plan=of, inputs={}, chain_id=CHAIN_ID, market=MARKET, genesis="00", account=PAYER, payer=PAYER,
        token=TOKEN, ledger="", limit=0, parent_budget=0, since=1, expiry=0,
        stages={each.name: StageRecord(most=most, price=most) for each in of.stages},
    )  # fmt: skip


def terms(need: Need, salt: int, **changes: Any) -> JobTerms:
    """Terms of a job for the need."""
    made = JobTerms(
        payer=PAYER, provider="0x" + "44" * 20, class_id=1, max_units=need.max_units, resources=1,
        accept_by=100, submit_by=200, spec_hash=spec_hash(need.spec), budget_id=0, salt=salt,
    )  # fmt: skip
    return replace(made, **changes)


def redemption(need: Need, output: bytes, units: int, salt: int) -> Redemption:
    """A finished job for the need."""
    made = terms(need, salt)
    job = job_id(made, CHAIN_ID, MARKET)
    receipt = Receipt(
        job_id=job, outcome=Outcome.COMPLETED, units=units, gpu_millijoules=0, input_tokens=0,
        output_tokens=0, started_at=1, ended_at=2, output_hash=keccak(output), evidence_root=b"\x01" * 32,
        assurance=2,
    )  # fmt: skip
    ending = Ending(Status.SETTLED, units, b"\x02" * 32, b"\x03" * 32, 5)
    return Redemption(JobPlan(job, made, need.spec, b"", "http://x"), ending, receipt, output, False, ())


@dataclass
class PlayedWork:
    """Answers each stage with its name and what it was asked, or with the error in `errors`.

    `units` are used by each; a failed one has spent what `lost` says. Remembers by key, as the real one does,
    and records when stages begin and end.
    """

    errors: dict[str, BaseException] = field(default_factory=dict)
    units: int = 7
    lost: int = 3
    log: list[tuple[str, str]] = field(default_factory=list)
    paid: dict[str, Bought] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    barrier: threading.Barrier | None = None
    open: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, stage: Stage, need: Need, price: int) -> Bought:
        """See Work.meet."""
        with self._lock:
            self.log.append(("begin", stage.name))
            self.asked.append(need.key)
        try:
            if self.barrier is not None:
                self.barrier.wait(20)
            if stage.name in self.errors:
                raise self.errors[stage.name]
            with self._lock:
                if need.key not in self.paid:
                    self.paid[need.key] = self._bought(stage, need, len(self.paid))
                return self.paid[need.key]
        finally:
            with self._lock:
                self.log.append(("end", stage.name))

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """See Work.spent."""
        if bought is None:
            return self.lost if isinstance(self.errors.get(stage.name), ScripError) else 0
        return bought.spent

    def is_open(self, stage: Stage) -> bool:
        """See Work.is_open."""
        return stage.name in self.open

    def _bought(self, stage: Stage, need: Need, salt: int) -> Bought:
        output = f"<{need.spec.params['question']}>".encode()
        choice = Choice(listing(1), need.max_units, need.max_units, "cheapest", ())
        return Bought(choice, self.units, redemption(need, output, self.units, salt), need.key)


def write(folder: Path, text: str, suffix: str = ".toml") -> Path:
    """A plan file."""
    path = folder / f"plan{suffix}"
    path.write_text(text, "utf-8")
    return path
