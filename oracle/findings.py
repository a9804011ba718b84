"""What a check of the set-up finds: one line each, with a mark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from scrip.errors import ScripError


class Mark(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warning"
    FAIL = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    mark: Mark
    detail: str


def guard(what: str, probe: Callable[[], tuple[Mark, str]]) -> Finding:
    """What `probe` finds; a failed one is a finding, too."""
    try:
        mark, detail = probe()
    except (ScripError, OSError) as error:
        return Finding(what, Mark.FAIL, str(error))
    return Finding(what, mark, detail)
