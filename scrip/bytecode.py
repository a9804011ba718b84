"""Creation code of the contracts: what `make setup` compiled in a checkout, `scrip/_bytecode` in a wheel."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from scrip.errors import NotFound

_HERE = Path(__file__).resolve().parent
_INSTALLED = _HERE / "_bytecode"
_COMPILED = _HERE.parent / "build" / "brownie" / "contracts"


@cache
def bytecode(name: str) -> str:
    """Hex of contract `name`'s creation code, its constructor's arguments not included. Raises NotFound."""
    installed, compiled = _INSTALLED / f"{name}.hex", _COMPILED / f"{name}.json"
    if installed.is_file():
        return installed.read_text("ascii").strip()
    if compiled.is_file():
        return str(json.loads(compiled.read_text("utf-8"))["bytecode"]).removeprefix("0x")
    raise NotFound("bytecode", name, "Compile the contracts first: make setup")
