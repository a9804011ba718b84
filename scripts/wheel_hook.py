"""Puts the contracts' creation code into wheel and sdist: hatchling calls it (pyproject.toml)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BytecodeHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `<Name>.hex` of every exported contract, from Brownie's artefacts or from the sdist's own copies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling. Raises RuntimeError if a contract isn't compiled."""
        if version == "editable":
            return  # a checkout reads the artefacts themselves, and is installed before they are there
        root = Path(self.root)
        target = "scrip/_bytecode" if self.target_name == "wheel" else "abi/bytecode"
        for abi in sorted((root / "abi" / "json").glob("*.json")):
            file = self._code(root, abi.stem)
            build_data["force_include"][str(file)] = f"{target}/{file.name}"

    def _code(self, root: Path, name: str) -> Path:
        ready = root / "abi" / "bytecode" / f"{name}.hex"
        if ready.is_file():
            return ready
        artefact = root / "build" / "brownie" / "contracts" / f"{name}.json"
        if not artefact.is_file():
            raise RuntimeError(f"{name} isn't compiled: run `make setup`, then build again")
        made = root / "build" / "bytecode" / f"{name}.hex"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(
            json.loads(artefact.read_text("utf-8"))["bytecode"].removeprefix("0x") + "\n", "ascii"
        )
        return made
