"""Results files of the benches: flat JSON objects, one number a key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def merge(name: str, figures: Mapping[str, int | float]) -> None:
    """Put `figures` into bench/`name`, beside what other benches have put there."""
    path = FOLDER / name
    known: dict[str, int | float] = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(dict(sorted({**known, **figures}.items())), indent=2) + "\n")
