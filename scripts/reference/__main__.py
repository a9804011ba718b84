"""Writes `docs/reference/`; with `--check` it only names the pages that are stale, and exits with 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.export_abi import NotCompiled, stale, write
from scripts.reference import contracts, http

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "reference"
OWNED = ("contracts/*.md", "http-*.md")


def main() -> int:
    """Write or check the pages; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is stale")
    check = parser.parse_args().check
    try:
        wanted = {f"contracts/{name}": text for name, text in contracts.pages().items()}
    except NotCompiled as error:
        print(error, file=sys.stderr)
        return 1
    wanted |= http.pages(ROOT / "docs" / "openapi")
    if not check:
        write(wanted, TARGET, OWNED)
        return 0
    names = stale(wanted, TARGET, OWNED)
    for name in names:
        print(f"docs/reference/{name} is stale: run `.venv/bin/python -m scripts.reference`", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
