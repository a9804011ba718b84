"""Where a pipeline stands, in a folder of its own, so that a kill at any point loses and doubles nothing.

`state.json` is written before what it speaks of is done: that a stage is started before its need is met, that
money is to be set aside before it is. What may have happened is then found out from the ledger, the buyer's
book and the chain, by the names written down here. `outputs/` holds what settled stages gave.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from eth_utils.crypto import keccak

from agents.pipeline.plan import Plan
from scrip.errors import BadInput, NotFound, ScripError

VERSION: Final = 1
STATE: Final = "state.json"
OUTPUTS: Final = "outputs"


class StageStatus(StrEnum):
    """Where a stage stands."""

    WAITING = "waiting"
    STARTED = "started"
    """Its need may have been begun: the buyer's book knows."""
    SETTLED = "settled"
    FAILED = "failed"
    SKIPPED = "skipped"
    """A stage it needs failed."""


class Phase(StrEnum):
    """Where a pipeline stands."""

    RESERVING = "reserving"
    RUNNING = "running"
    ENDED = "ended"


class InUse(ScripError):
    """Another process runs this pipeline."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A stage: `most` is set aside for it, `price` is the most that its units may be priced at, `spent` has
    gone, all in payment-token base units.

    Of a settled one: its terms and receipt as JSON, the base units settled, their price and the transaction.
    `detail` says why it was chosen, failed or was skipped.
    """

    status: StageStatus = StageStatus.WAITING
    most: int = 0
    price: int = 0
    spent: int = 0
    detail: str = ""
    units: int = 0
    cost: int = 0
    terms: Mapping[str, Any] = field(default_factory=dict)
    receipt: Mapping[str, Any] = field(default_factory=dict)
    tx: str = ""
    simulated: bool = False
    tried: int = 0

    @property
    def output_hash(self) -> bytes:
        """Of a settled stage: keccak256 of its output."""
        return bytes.fromhex(str(self.receipt["outputHash"])[2:])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is written down. `run_id` names the run in ledgers, books and on chain.

    Money comes from the ledger at path `ledger` with a `limit`, or from the budget `parent_budget` on chain,
    and is counted in `token`. `budget_id` is the plan's own budget, 0 if it has none (yet); `since` is a
    block it began after, `expiry` (unix seconds) when its budget ends.
    """

    plan: Plan
    inputs: Mapping[str, str]
    chain_id: int
    market: str
    genesis: str
    account: str
    payer: str
    token: str
    ledger: str
    limit: int
    parent_budget: int
    since: int
    expiry: int
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    phase: Phase = Phase.RESERVING
    budget_id: int = 0
    stages: Mapping[str, StageRecord] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """What is set aside for the whole plan."""
        return sum(record.most for record in self.stages.values())


class State:
    """The folder of one run. One process at a time; its threads may share it."""

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self.folder, self.now = folder, snapshot
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def create(cls, folder: Path, snapshot: Snapshot) -> Iterator[Self]:
        """A new run in a folder that holds none. Raises BadInput, InUse."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder):
            if (folder / STATE).exists():
                hint = f"Go on with it: scrip pipeline resume {folder}"
                raise BadInput("run folder", str(folder), "without a run", hint)
            made = cls(folder, snapshot)
            made._write(snapshot)
            yield made

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """The run in a folder. Raises NotFound, BadInput, InUse."""
        if not (folder / STATE).is_file():
            raise NotFound("pipeline run in", str(folder), "Start one: scrip pipeline run PLAN")
        with _alone(folder):
            yield cls(folder, _read(folder / STATE))

    def stage(self, name: str) -> StageRecord:
        """Where a stage stands."""
        return self.now.stages.get(name, StageRecord())

    def key(self, name: str) -> str:
        """Key of a stage's need: however often it is met, it is paid once."""
        return f"pipeline-{self.now.run_id}-{name}"

    def set_stage(self, name: str, **changes: Any) -> StageRecord:
        """Write down where a stage stands now."""
        with self._lock:
            record = replace(self.stage(name), **changes)
            self._write(replace(self.now, stages={**self.now.stages, name: record}))
        return record

    def set(self, **changes: Any) -> None:
        """Write down something of the whole run."""
        with self._lock:
            self._write(replace(self.now, **changes))

    def discard(self) -> None:
        """Forget a run that has not begun, so that its folder can be used for another."""
        (self.folder / STATE).unlink()

    def keep_output(self, name: str, output: bytes) -> None:
        """Store what a stage gave; on the disk when this returns."""
        _store(self.folder / OUTPUTS / name, output)

    def output(self, name: str) -> bytes:
        """What a settled stage gave. Raises BadInput if the file isn't that any more."""
        path = self.folder / OUTPUTS / name
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise BadInput(f"output {path}", error.strerror, "the file this program wrote") from None
        if keccak(raw) != self.stage(name).output_hash:
            raise BadInput(f"output {path}", f"{len(raw)} other bytes", "what the stage's receipt commits to")
        return raw

    def _write(self, snapshot: Snapshot) -> None:
        _store(self.folder / STATE, json.dumps(_to_json(snapshot), indent=1).encode("ascii"))
        self.now = snapshot


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another process runs the pipeline in {folder}. Wait for it, or end it") from None
        yield


def _store(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".draft")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _to_json(snapshot: Snapshot) -> dict[str, Any]:
    plain = {name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__}
    return plain | {
        "version": VERSION,
        "plan": snapshot.plan.to_json(),
        "inputs": dict(snapshot.inputs),
        "stages": {name: asdict(record) for name, record in snapshot.stages.items()},
    }


def _read(path: Path) -> Snapshot:
    try:
        data = json.loads(path.read_text("utf-8"))
        version = data.pop("version")
        if version != VERSION:
            raise BadInput(f"run {path}", f"version {version}", f"version {VERSION}")
        stages = {
            name: StageRecord(**{**row, "status": StageStatus(row["status"])})
            for name, row in data.pop("stages").items()
        }
        plan, phase = Plan.parse(data.pop("plan")), Phase(data.pop("phase"))
        return Snapshot(plan=plan, phase=phase, stages=stages, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"run {path}",
            str(error),
            "the file this program wrote",
            "It may name jobs that are open: mend it",
        ) from None
