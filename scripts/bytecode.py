"""Whether forge and Brownie compiled the contracts to the same bytecode, metadata included.

What forge tested is then what Brownie deploys. `python -m scripts.bytecode`, after both have compiled.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BROWNIE = ROOT / "build" / "brownie" / "contracts"
FORGE = ROOT / "build" / "forge" / "out"


def pairs(brownie: Path, forge: Path) -> Iterator[tuple[str, str, str | None]]:
    """(name, Brownie's code, forge's code or None) of every contract of ours that can be deployed."""
    for file in sorted(brownie.glob("*.json")):
        artefact = json.loads(file.read_text())
        source = Path(artefact["sourcePath"])
        if not artefact["bytecode"] or source.parts[0] != "contracts":
            continue
        other = forge / source.name / f"{artefact['contractName']}.json"
        code = json.loads(other.read_text())["bytecode"]["object"] if other.is_file() else None
        yield artefact["contractName"], artefact["bytecode"], code


def problems(brownie: Path, forge: Path) -> list[str]:
    """One line for each contract whose code differs or is missing, or one when nothing was compiled."""
    found = list(pairs(brownie, forge))
    if not found:
        return [f"no compiled contract in {brownie}: run `make setup`"]
    return [
        f"{name}: forge did not compile it"
        if theirs is None
        else f"{name}: forge's bytecode differs from Brownie's"
        for name, ours, theirs in found
        if theirs is None or theirs.removeprefix("0x") != ours.removeprefix("0x")
    ]


def main() -> int:
    """Print the problems and return the exit status."""
    lines = problems(BROWNIE, FORGE)
    print("\n".join(lines) or "forge and Brownie emit the same bytecode")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
