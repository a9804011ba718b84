"""Export the contracts' ABIs from the compiled artefacts to `abi/`: JSON, and the same as TypeScript.

`python -m scripts.export_abi` writes `abi/json/<Contract>.json` and what `scripts.abi_typescript` makes of
them and of the deployments, and removes the files of contracts that are gone. With `--check` it writes
nothing, names each file that is stale and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts import abi_typescript

ROOT = Path(__file__).resolve().parents[1]
ARTEFACTS = ROOT / "build" / "brownie" / "contracts"
DEPLOYMENTS = ROOT / "deployments"
TARGET = ROOT / "abi"
# The files that are ours to write and to remove.
OWNED = ("json/*.json", "src/generated/*.ts")
# Where contracts lie that somebody deploys and calls.
FOLDERS = frozenset({Path("contracts"), Path("contracts/eligibility")})
# Exported beside them: the demo and the tests pay with it.
TESTING_CONTRACTS = frozenset({"DemoUSD"})
KIND_ORDER = ("constructor", "receive", "fallback", "function", "event", "error")

Abi = list[dict[str, Any]]


class NotCompiled(Exception):
    """No compiled contract was found."""


def exported(artefacts: Path) -> tuple[dict[str, Abi], dict[str, str]]:
    """ABI of every contract to export, and what our contracts' NatSpec says of an error, both by name.

    Raises NotCompiled when there is none.
    """
    abis: dict[str, Abi] = {}
    notices: dict[str, str] = {}
    for file in sorted(artefacts.glob("*.json")):
        artefact = json.loads(file.read_text())
        if artefact["sourcePath"].startswith("contracts/"):
            notices |= dict(_notices(artefact.get("ast")))
        if is_exported(artefact):
            abis[artefact["contractName"]] = sorted(artefact["abi"], key=_order)
    if not abis:
        raise NotCompiled(f"no compiled contract in {artefacts}: run `make setup`")
    return abis, notices


def files(abis: Mapping[str, Abi], notices: Mapping[str, str], deployments: Path) -> dict[str, str]:
    """Text of every file of `abi/` that is generated, by its path below it."""
    return {
        **{f"json/{name}.json": render(abi) for name, abi in abis.items()},
        **{f"src/generated/{name}": text for name, text in abi_typescript.files(abis, notices, deployments)},
    }


def render(abi: Abi) -> str:
    """The ABI as stable text: entries by kind, name and input types; keys sorted."""
    return json.dumps(sorted(abi, key=_order), indent=2, sort_keys=True) + "\n"


def stale(wanted: Mapping[str, str], target: Path, owned: Sequence[str] = OWNED) -> list[str]:
    """Paths below `target` that are missing, differ from `wanted`, or are ours (`owned`) and not wanted."""
    found = [file for pattern in owned for file in target.glob(pattern)]
    present = {file.relative_to(target).as_posix(): file.read_text("utf-8") for file in found}
    return sorted(path for path in wanted.keys() | present.keys() if wanted.get(path) != present.get(path))


def write(wanted: Mapping[str, str], target: Path, owned: Sequence[str] = OWNED) -> None:
    """Make the generated part of `target` exactly `wanted`; unchanged files keep their time stamps."""
    for name in stale(wanted, target, owned):
        path = target / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], "utf-8")
        else:
            path.unlink()


def is_exported(artefact: Mapping[str, Any]) -> bool:
    """Whether an artefact is of a contract whose ABI is exported: one that somebody deploys and calls."""
    if artefact["type"] != "contract" or not artefact["bytecode"]:
        return False
    source = Path(artefact["sourcePath"])
    return source.parent in FOLDERS or artefact["contractName"] in TESTING_CONTRACTS


def _notices(node: Any) -> Iterator[tuple[str, str]]:
    """(error, its `@notice`) of every error below a node of a syntax tree."""
    if isinstance(node, list):
        for item in node:
            yield from _notices(item)
    elif isinstance(node, dict):
        if node.get("nodeType") == "ErrorDefinition" and node.get("documentation"):
            text = " ".join(node["documentation"]["text"].split())
            if text.startswith("@notice "):
                yield node["name"], text.removeprefix("@notice ")
        yield from _notices(node.get("nodes", []))


def _order(entry: dict[str, Any]) -> tuple[int, str, str]:
    inputs = ",".join(item["type"] for item in entry.get("inputs", ()))
    return KIND_ORDER.index(entry["type"]), entry.get("name", ""), inputs


def main() -> int:
    """Write or check the files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is stale")
    check = parser.parse_args().check
    try:
        wanted = files(*exported(ARTEFACTS), DEPLOYMENTS)
    except NotCompiled as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        write(wanted, TARGET)
        return 0
    names = stale(wanted, TARGET)
    for name in names:
        print(
            f"abi/{name} is stale: run `.venv/bin/python -m scripts.export_abi` and commit it",
            file=sys.stderr,
        )
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
