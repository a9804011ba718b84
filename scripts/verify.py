"""Write what explorers need to verify a deployment, check it here, and submit it when asked.

python -m scripts.verify --rpc $RPC                       # write build/verify/<chainId>/ and check every byte
python -m scripts.verify --rpc $RPC --submit sourcify     # and publish the sources
ETHERSCAN_API_KEY=.. python -m scripts.verify --rpc $RPC --submit etherscan
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from web3 import Web3

from scrip.errors import BadInput, NotFound, ScripError
from scrip.rpc import make_web3
from scripts import verification
from scripts.admin import FOLDER
from scripts.deployment_record import Record, read_record
from scripts.explorers import ETHERSCAN, SOURCIFY, Etherscan, Explorer, Sourcify, submit_all
from scripts.verification import VerificationFailed

KEY_VARIABLE = "ETHERSCAN_API_KEY"


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. See the top of this file."""
    given = _parser().parse_args(arguments)
    try:
        w3 = make_web3(_rpc(given.rpc))
        _run(given, w3, _record(given.deployments, w3))
    except ScripError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace, w3: Web3, record: Record) -> None:
    explorer = _explorer(given.submit, given.explorer_url)
    entries = verification.write(record, w3.eth, given.out)
    chosen = [entry for entry in entries if not given.contract or entry.name in given.contract]
    if not chosen:
        raise NotFound("contract", ", ".join(given.contract))
    folder = verification.folder_of(record, given.out)
    print(f"{len(entries)} inputs and manifest.json written to {folder}", flush=True)
    if not given.unchecked:
        print(f"compiling {len(chosen)} of them to compare with the chain ...", flush=True)
        if found := list(verification.problems(chosen, w3.eth, folder)):
            raise VerificationFailed("; ".join(found))
        print("each compiles to the very code on the chain")
    if explorer is not None:
        for name, match in submit_all(explorer, record.deployment.chain_id, chosen, folder):
            print(f"  {name:<17} {match}")


def _explorer(name: str | None, url: str | None) -> Explorer | None:
    if name == "sourcify":
        return Sourcify(url or SOURCIFY)
    if name == "etherscan":
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise BadInput(KEY_VARIABLE, "nothing", "an API key of Etherscan, in the environment")
        return Etherscan(key, url or ETHERSCAN)
    return None


def _record(folder: Path, w3: Web3) -> Record:
    chain_id = int(w3.eth.chain_id)
    if (record := read_record(folder, chain_id)) is None:
        raise NotFound(
            "deployment", f"chain {chain_id} in {folder}", "Deploy first: python -m scripts.deploy"
        )
    return record


def _rpc(url: str | None) -> str:
    if not url:
        raise BadInput("--rpc", "nothing", "the URL of a node, here or in SCRIP_RPC_URL")
    return url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.verify", description="Verify a deployment's sources."
    )
    parser.add_argument(
        "--rpc", default=os.environ.get("SCRIP_RPC_URL"), help="URL of a node (SCRIP_RPC_URL)"
    )
    parser.add_argument("--deployments", type=Path, default=FOLDER, help="folder of the records")
    parser.add_argument("--out", type=Path, default=verification.FOLDER, help="folder to write below")
    parser.add_argument("--contract", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--unchecked", action="store_true", help="don't compile and compare first")
    parser.add_argument("--submit", choices=("sourcify", "etherscan"), help="publish the sources there")
    parser.add_argument("--explorer-url", help="another server with the same API")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
