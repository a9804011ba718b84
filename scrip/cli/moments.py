"""Times on the command line: a moment in the future, as a date or so far ahead."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from scrip.errors import BadInput

UNTIL_HELP: Final = "a date (2027-01-31), a time (2027-01-31T12:00) or so long ahead (90m, 36h, 7d)"
_AHEAD: Final = re.compile(r"([0-9]{1,6})([smhd])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(option: str, text: str) -> int:
    """A duration such as 90m, 36h or 7d, in seconds. Raises BadInput."""
    found = _AHEAD.match(text)
    if found is None:
        raise BadInput(option, text, "a duration such as 300s, 90m, 36h or 7d")
    return int(found.group(1)) * _SECONDS[found.group(2)]


def until(option: str, text: str, now: int) -> int:
    """Unix seconds of a moment after `now`. A date is its first second in UTC. Raises BadInput."""
    if _AHEAD.match(text):
        return now + seconds(option, text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(option, text, UNTIL_HELP) from None
    moment = int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    if moment <= now:
        raise BadInput(option, text, "in the future")
    return moment
