"""Files with the addresses of a deployment, one per chain: `deployments/<chainId>.json`.

    {"chainId": 31337, "block": 1, "contracts": {"JobMarket": "0x..", ...}}

`"explorer": "https://.."` may name a block explorer. Other keys are left to their writers and ignored here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from scrip.errors import BadInput, NotFound, WrongChain
from scrip.types import Deployment


def load(path: Path | str, chain_id: int | None = None) -> Deployment:
    """Read a deployment from a file, or from the folder that holds `<chain_id>.json`.

    Raises NotFound if there is no file, BadInput if it isn't a deployment, WrongChain if it is of another
    chain than `chain_id`. A folder needs `chain_id`.
    """
    place = Path(path)
    if place.is_dir():
        if chain_id is None:
            raise BadInput("chain_id", chain_id, f"given, to choose a file in {place}")
        place = place / f"{chain_id}.json"
    try:
        data = json.loads(place.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFound("deployment", place, "Deploy the contracts first, or name the file") from None
    except ValueError as error:
        raise BadInput(f"deployment {place}", str(error), "JSON") from error
    deployment = from_json(data)
    if chain_id is not None and deployment.chain_id != chain_id:
        raise WrongChain(f"{place} is a deployment on chain {deployment.chain_id}, wanted chain {chain_id}")
    return deployment


def from_json(data: object) -> Deployment:
    """Inverse of `to_json`. Raises BadInput."""
    if not isinstance(data, dict) or not {"chainId", "block", "contracts"} <= set(data):
        raise BadInput("deployment", data, "an object with chainId, block and contracts")
    if not isinstance(data["contracts"], dict):
        raise BadInput("deployment.contracts", data["contracts"], "an object of addresses by contract name")
    explorer = data.get("explorer", "")
    if not isinstance(explorer, str) or (explorer and not explorer.startswith(("https://", "http://"))):
        raise BadInput("deployment.explorer", explorer, "a URL")
    return Deployment(
        chain_id=data["chainId"], block=data["block"], contracts=data["contracts"], explorer=explorer
    )


def to_json(deployment: Deployment) -> dict[str, object]:
    """The JSON object that `load` reads."""
    return {
        "chainId": deployment.chain_id,
        "block": deployment.block,
        "contracts": dict(sorted(deployment.contracts.items())),
        **({"explorer": deployment.explorer} if deployment.explorer else {}),
    }


def save(deployment: Deployment, folder: Path | str) -> Path:
    """Write `<folder>/<chainId>.json` and return its path. Readers see the old file or the new one, whole."""
    target = Path(folder) / f"{deployment.chain_id}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(to_json(deployment), indent=2) + "\n", "utf-8")
    draft.replace(target)
    return target
