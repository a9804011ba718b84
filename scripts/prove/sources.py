"""Solidity files: what each imports, and hashes of their texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

IMPORT = re.compile(r'^\s*import\s[^;]*?"([^"]+)"\s*;', re.MULTILINE)
# As in foundry.toml.
REMAPPINGS = {
    "@openzeppelin/": "node_modules/@openzeppelin/",
    "forge-std/": "node_modules/@layerzerolabs/toolbox-foundry/lib/forge-std/",
}


class Sources:
    """Solidity files below a root, and what each imports."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._texts: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Content of a file, read once."""
        if name not in self._texts:
            self._texts[name] = (self._root / name).read_text()
        return self._texts[name]

    def closure(self, *names: str) -> dict[str, str]:
        """The named files and all that they import, by path from the root."""
        found: dict[str, str] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found[name] = self.text(name)
            waiting += [_resolved(name, path) for path in IMPORT.findall(found[name])]
        return found

    def dependents(self, name: str, candidates: Mapping[str, str]) -> dict[str, str]:
        """Those of the candidates (contract -> file) whose code holds the file."""
        return {contract: file for contract, file in candidates.items() if name in self.closure(file)}


def _resolved(importer: str, path: str) -> str:
    for short, folder in REMAPPINGS.items():
        if path.startswith(short):
            return folder + path.removeprefix(short)
    if not path.startswith("."):
        return path
    parts: list[str] = []
    for part in (*PurePosixPath(importer).parent.parts, *path.split("/")):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def below(root: Path, folder: str) -> dict[str, str]:
    """Text of every Solidity file of a folder, by path from the root."""
    return {file.relative_to(root).as_posix(): file.read_text() for file in (root / folder).rglob("*.sol")}


def digest(texts: Mapping[str, str]) -> str:
    """Hash of texts, names included."""
    total = hashlib.sha256()
    for name in sorted(texts):
        total.update(f"{name}\0{hashlib.sha256(texts[name].encode()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]
