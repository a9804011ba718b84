"""`transfer`: moves an artefact to the provider, from where the buyer gets it as the job's output.

What is metered is the artefact's own bytes, once: no header, no retry, so nothing can be moved twice.
Output: the artefact.
"""

from __future__ import annotations

import sys
from pathlib import Path

from oracle.jobs.artefact import fetch, intact
from oracle.jobs.common import Result, main
from oracle.jobs.params import ArtefactSettings, TransferParams


def move(params: TransferParams, settings: ArtefactSettings, folder: Path) -> Result:
    """Fetch it."""
    content = fetch(params, settings, folder)
    return Result(content, {"bytes": len(content)})


def check(params: TransferParams, output: bytes) -> None:
    """Raises ValueError unless `output` is the artefact that the buyer named."""
    if len(output) != params.size or not intact(output, params):
        raise ValueError(f"{len(output)} bytes that aren't the content with sha256 {params.sha256}")


if __name__ == "__main__":
    sys.exit(main(TransferParams, ArtefactSettings, lambda p, s: move(p, s, Path(sys.argv[1]))))
