"""The texts that the demonstration works on: in `docs/` of a checkout, beside this file in a wheel."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def document(name: str) -> Path:
    """A file of `docs/`."""
    installed = _HERE / "docs" / name
    return installed if installed.is_file() else _HERE.parent / "docs" / name
