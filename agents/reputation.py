"""What the chain shows of providers: how the jobs they took have ended. Nobody's word counts.

One scan of the market's events, which goes on where the last one stopped: what is known is kept in a file,
and only final blocks are read. A job nobody took says nothing of its provider and isn't counted, since anyone
can open one. A provider can settle jobs with itself, so success is worth little and failure much.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scrip import logs
from scrip.errors import BadInput
from scrip.types import Fault

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.logs import LogEvent

LOOK_BACK: Final = 500_000
"""Blocks of history that a first scan reads at most: two months of 12-second blocks."""

FAULT_WEIGHT: Final = 4
"""How many settled jobs a failed one outweighs."""

PERMILLE: Final = 1_000

_EVENTS: Final = (
    "JobOpened",
    "JobAccepted",
    "JobSettled",
    "JobRefunded",
    "JobCancelled",
    "JobExpired",
    "JobResolved",
)
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """How the jobs that one provider took have ended.

    `failed`: it said itself that the work failed. `dropped`: it gave up a job it had taken. `expired`: it let
    the deadline pass. `lost`: arbiters found its receipt wrong (such a job ends settled or refunded as well).
    """

    settled: int = 0
    failed: int = 0
    dropped: int = 0
    expired: int = 0
    lost: int = 0

    @property
    def faults(self) -> int:
        """Failures of every kind; a lost dispute counts on top of how its job ended."""
        return self.failed + self.dropped + self.expired + self.lost

    def reputation(self, more_faults: int = 0) -> int:
        """0 to 999 permille: (settled + 1) / (settled + 2 + FAULT_WEIGHT * faults), Laplace's rule of
        succession with failures weighing more. 500 for a provider that nobody knows.

        `more_faults` are those that the chain can't show.
        """
        faults = self.faults + more_faults
        return (self.settled + 1) * PERMILLE // (self.settled + 2 + FAULT_WEIGHT * faults)

    def to_json(self) -> dict[str, int]:
        """Counts by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(slots=True)
class _State:
    """What was counted up to `block`, whose hash tells whether it is the same chain still.

    `running` are the jobs that were taken and haven't ended: their provider, by job id in hex.
    """

    block: int = -1
    block_hash: str = ""
    records: dict[str, Record] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)


class Reputation:
    """Counts of one deployment, kept in a file. One process at a time writes it; any may read."""

    def __init__(self, chain: Chain, path: Path | None = None, *, look_back: int = LOOK_BACK) -> None:
        """`path` is where counts are kept, None forgets them with the process."""
        self.chain, self.path, self.look_back = chain, path, look_back
        self._state = self._load()

    def update(self) -> Mapping[str, Record]:
        """Read what has become final since, and return the records by provider.

        Raises NodeUnavailable and other ChainErrors; what was read up to then is kept.
        """
        last, state = self.chain.finalized(), self._state
        if not self._same_chain(state):
            state = self._state = _State()
        first = max(state.block + 1, self.chain.deployment.block, last - self.look_back + 1, 0)
        for page in logs.pages(self.chain, "JobMarket", _EVENTS, first, last):
            for event in page.events:
                count(state.records, state.running, event)
            state.block = page.last
        if state.block >= 0 and first <= last:
            state.block_hash = self._hash(state.block)
            self._save()
        return dict(state.records)

    def _same_chain(self, state: _State) -> bool:
        """False after a deep reorganisation, or where a local chain was started anew."""
        if state.block < 0:
            return True
        return state.block <= self.chain.head() and self._hash(state.block) == state.block_hash

    def _hash(self, block: int) -> str:
        return bytes(self.chain.w3.eth.get_block(block)["hash"]).hex()

    def _load(self) -> _State:
        if self.path is None or not self.path.exists():
            return _State()
        try:
            data = json.loads(self.path.read_text("utf-8"))
            if (data["version"], data["market"]) != (_VERSION, self._market()):
                return _State()
            records = {who: Record(**counts) for who, counts in data["records"].items()}
            return _State(int(data["block"]), str(data["blockHash"]), records, dict(data["running"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"reputation {self.path}",
                str(error),
                "the file this program wrote",
                "Delete it: it is a cache",
            ) from None

    def _save(self) -> None:
        if self.path is None:
            return
        state = self._state
        data: dict[str, Any] = {
            "version": _VERSION,
            "market": self._market(),
            "block": state.block,
            "blockHash": state.block_hash,
            "records": {who: record.to_json() for who, record in sorted(state.records.items())},
            "running": dict(sorted(state.running.items())),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(data), "utf-8")
        draft.replace(self.path)

    def _market(self) -> str:
        return f"{self.chain.chain_id}:{self.chain.address('JobMarket')}"


def count(records: dict[str, Record], running: dict[str, str], event: LogEvent) -> None:
    """Count one event of the market into `records`; `running` remembers who has taken which job."""
    job = bytes(event.args["jobId"]).hex()
    if event.name in ("JobOpened", "JobAccepted"):
        # A quote takes the job as it is opened; any other is taken when it is accepted.
        if event.args.get("quoted", True):
            running[job] = str(event.args["provider"])
        return
    if event.name == "JobResolved":
        who = running.get(job)
        if who is not None and int(event.args["fault"]) == Fault.PROVIDER:
            _add(records, who, "lost")
        return
    provider = event.args.get("provider", running.pop(job, None))
    running.pop(job, None)
    if provider is not None:
        _add(records, str(provider), _KINDS[event.name])


_KINDS: Final = {
    "JobSettled": "settled",
    "JobRefunded": "failed",
    "JobCancelled": "dropped",
    "JobExpired": "expired",
}


def _add(records: dict[str, Record], provider: str, kind: str) -> None:
    known = records.get(provider, Record())
    records[provider] = replace(known, **{kind: getattr(known, kind) + 1})
