"""Stamps: a step is skipped while the content hash of its inputs equals the one it last finished with.

A stamp lies inside the folder that its step makes, so deleting the folder deletes the stamp with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(root: Path, paths: Iterable[Path], facts: Iterable[str] = ()) -> str:
    """Hash of `facts` and of every file in `paths` (folders are walked) by relative name and content."""
    sha = hashlib.sha256()
    for fact in facts:
        sha.update(b"fact\0" + fact.encode() + b"\0")
    for file in sorted({file for path in paths for file in _files(path)}):
        content = file.read_bytes()
        sha.update(f"file\0{file.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


def is_current(stamp: Path, value: str) -> bool:
    """Whether the step that owns `stamp` last finished with inputs of this hash."""
    return stamp.is_file() and stamp.read_text().strip() == value


def write(stamp: Path, value: str) -> None:
    """Record that the step finished with inputs of this hash."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(value + "\n")


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return (path,) if path.is_file() else ()
