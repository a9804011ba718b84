"""The files of a deployment: its record `deployments/<chainId>.json` and, until that exists, its progress.

The record is what `scrip.deployments` reads (chainId, block, contracts), with more for people and for reruns:

    {"chainId": 31337, "block": 1, "contracts": {"JobMarket": "0x..", ..},
     "deployer": "0x..", "paymentToken": "0x..", "stakeToken": "0x..",
     "created": {"JobMarket": {"block": 7, "tx": "0x.."}, ..},
     "watcherSets": [{"id": 1, "watchers": ["0x..", ..], "threshold": 2}], "commit": "<git commit>"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scrip import deployments
from scrip.errors import BadInput
from scrip.structs import to_address, to_int
from scrip.types import Deployment, WatcherSet


@dataclass(frozen=True, slots=True)
class Created:
    """The block and the transaction (0x hex) that created a contract."""

    block: int
    tx: str


@dataclass(frozen=True, slots=True)
class Record:
    """A finished deployment. `created` may lack a contract if its creation was interrupted."""

    deployment: Deployment
    deployer: str
    payment_token: str
    stake_token: str
    created: Mapping[str, Created]
    watcher_sets: tuple[WatcherSet, ...] = ()
    commit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object described above; `commit` only if it is known."""
        data = deployments.to_json(self.deployment) | {
            "deployer": self.deployer,
            "paymentToken": self.payment_token,
            "stakeToken": self.stake_token,
            "created": _created_to_json(self.created),
            "watcherSets": [
                {"id": item.set_id, "watchers": list(item.watchers), "threshold": item.threshold}
                for item in self.watcher_sets
            ],
        }
        return data if self.commit is None else data | {"commit": self.commit}

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """Inverse of `to_json`. Raises BadInput for what is missing or malformed."""
        deployment = deployments.from_json(data)
        try:
            return cls(
                deployment=deployment,
                deployer=to_address("deployment.deployer", data["deployer"]),
                payment_token=to_address("deployment.paymentToken", data["paymentToken"]),
                stake_token=to_address("deployment.stakeToken", data["stakeToken"]),
                created=_created_from_json(data["created"]),
                watcher_sets=tuple(
                    WatcherSet(item["id"], tuple(item["watchers"]), item["threshold"])
                    for item in data["watcherSets"]
                ),
                commit=data.get("commit"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                "deployment", f"{type(error).__name__} {error}", "a record of scripts.deploy"
            ) from None


@dataclass(frozen=True, slots=True)
class Progress:
    """A deployment under way: enough to go on with it. `block` is the head before its first transaction."""

    chain_id: int
    deployer: str
    first_nonce: int
    block: int
    created: Mapping[str, Created] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON object with the field names of the record."""
        return {
            "chainId": self.chain_id,
            "deployer": self.deployer,
            "firstNonce": self.first_nonce,
            "block": self.block,
            "created": _created_to_json(self.created),
        }

    @classmethod
    def from_json(cls, data: Any) -> Progress:
        """Inverse of `to_json`. Raises BadInput."""
        try:
            return cls(
                chain_id=to_int("progress.chainId", data["chainId"]),
                deployer=to_address("progress.deployer", data["deployer"]),
                first_nonce=to_int("progress.firstNonce", data["firstNonce"]),
                block=to_int("progress.block", data["block"]),
                created=_created_from_json(data["created"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                "progress", f"{type(error).__name__} {error}", "a file of scripts.deploy"
            ) from None


def record_path(folder: Path, chain_id: int) -> Path:
    """Where the record of a chain is."""
    return folder / f"{chain_id}.json"


def progress_path(folder: Path, chain_id: int) -> Path:
    """Where the progress of an unfinished deployment is."""
    return folder / f"{chain_id}.partial.json"


def read_record(folder: Path, chain_id: int) -> Record | None:
    """The record of a chain, None if there is none. Raises BadInput, also if it names another chain."""
    path = record_path(folder, chain_id)
    record = None if (data := _read(path)) is None else Record.from_json(data)
    if record is not None and record.deployment.chain_id != chain_id:
        raise BadInput(f"{path}: chainId", record.deployment.chain_id, chain_id)
    return record


def read_progress(folder: Path, chain_id: int) -> Progress | None:
    """The progress of an unfinished deployment, None if there is none. Raises BadInput."""
    data = _read(progress_path(folder, chain_id))
    return None if data is None else Progress.from_json(data)


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON so that a reader, or a crash, sees the old file or the new one, never half of it."""
    text = json.dumps(data, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for all drafts: what a killed run left is overwritten by the next one.
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput(str(path), str(error), "JSON") from error


def _created_to_json(created: Mapping[str, Created]) -> dict[str, dict[str, object]]:
    return {name: {"block": item.block, "tx": item.tx} for name, item in sorted(created.items())}


def _created_from_json(data: Any) -> dict[str, Created]:
    return {
        name: Created(to_int(f"created.{name}.block", item["block"]), str(item["tx"]))
        for name, item in data.items()
    }
