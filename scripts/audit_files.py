"""The published form of an audit file: the JSON Schema of its lines, written from the code.

    python -m scripts.audit_files [--check]

`--check` only says whether it is up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scrip.audit.shapes import schema

SCHEMA: Final = Path(__file__).resolve().parents[1] / "scrip" / "audit.schema.json"


def main(arguments: Sequence[str]) -> int:
    """Write the schema, or with `--check` return 1 and say so if it is stale."""
    text = json.dumps(schema(), indent=1) + "\n"
    if "--check" not in arguments:
        SCHEMA.write_text(text, "utf-8")
        return 0
    if SCHEMA.is_file() and SCHEMA.read_text("utf-8") == text:
        return 0
    print(f"{SCHEMA.name} is stale: run python -m scripts.audit_files")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
