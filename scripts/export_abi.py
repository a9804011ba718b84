"""Export the contracts' ABIs from the compiled artefacts to abi/json/<Contract>.json.

`python -m scripts.export_abi` writes them and removes those of contracts that are gone;
with `--check` it writes nothing, names each file that is stale and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARTEFACTS = ROOT / "build" / "brownie" / "contracts"
TARGET = ROOT / "abi" / "json"
# Where contracts lie that somebody deploys and calls.
FOLDERS = frozenset({Path("contracts"), Path("contracts/eligibility")})
# Exported beside them: the demo and the tests pay with it.
TESTING_CONTRACTS = frozenset({"DemoUSD"})
KIND_ORDER = ("constructor", "receive", "fallback", "function", "event", "error")


class NotCompiled(Exception):
    """No compiled contract was found."""


def exported(artefacts: Path) -> dict[str, str]:
    """Name -> file text of every contract to export. Raises NotCompiled when there is none."""
    files: dict[str, str] = {}
    for file in sorted(artefacts.glob("*.json")):
        artefact = json.loads(file.read_text())
        if _is_exported(artefact):
            files[artefact["contractName"]] = render(artefact["abi"])
    if not files:
        raise NotCompiled(f"no compiled contract in {artefacts}: run `make setup`")
    return files


def render(abi: list[dict[str, Any]]) -> str:
    """The ABI as stable text: entries by kind, name and input types; keys sorted."""
    return json.dumps(sorted(abi, key=_order), indent=2, sort_keys=True) + "\n"


def stale(files: dict[str, str], target: Path) -> list[str]:
    """Names of files in `target` that are missing, differ from `files` or belong to no contract."""
    present = {file.stem: file.read_text() for file in target.glob("*.json")}
    return sorted(name for name in files.keys() | present.keys() if files.get(name) != present.get(name))


def write(files: dict[str, str], target: Path) -> None:
    """Make `target` hold exactly `files`; unchanged files keep their time stamps."""
    target.mkdir(parents=True, exist_ok=True)
    for name in stale(files, target):
        path = target / f"{name}.json"
        if name in files:
            path.write_text(files[name])
        else:
            path.unlink()


def _is_exported(artefact: dict[str, Any]) -> bool:
    if artefact["type"] != "contract" or not artefact["bytecode"]:
        return False
    source = Path(artefact["sourcePath"])
    return source.parent in FOLDERS or artefact["contractName"] in TESTING_CONTRACTS


def _order(entry: dict[str, Any]) -> tuple[int, str, str]:
    inputs = ",".join(item["type"] for item in entry.get("inputs", ()))
    return KIND_ORDER.index(entry["type"]), entry.get("name", ""), inputs


def main() -> int:
    """Write or check the ABI files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is stale")
    check = parser.parse_args().check
    try:
        files = exported(ARTEFACTS)
    except NotCompiled as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        write(files, TARGET)
        return 0
    names = stale(files, TARGET)
    for name in names:
        print(f"abi/json/{name}.json is stale: run `make setup` and commit it", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
