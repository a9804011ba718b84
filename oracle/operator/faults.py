"""Warnings and errors of this process's log, the newest of each kind, for the operator's page."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from oracle.logging import hide_secrets

KINDS: Final = 50
SHOWN: Final = 300
_OF_LOG: Final = ("event", "level", "logger", "timestamp", "exc_info")


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of the log: `count` such have been written, the last at `at_ms` (unix)."""

    level: str
    event: str
    detail: str
    at_ms: int
    count: int = 1


class LogTail(logging.Handler):
    """Keeps the newest warnings and errors, each kind once, `most` kinds. Holds no secret: see
    `oracle.logging`.
    """

    def __init__(self, most: int = KINDS) -> None:
        super().__init__(logging.WARNING)
        self._most, self._guard = most, threading.Lock()
        self._found: OrderedDict[tuple[str, str], Logged] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        given = record.msg if isinstance(record.msg, Mapping) else {"event": record.getMessage()}
        entry = hide_secrets(None, "", dict(given))
        event, detail = str(entry.get("event", ""))[:SHOWN], _detail(entry, record)
        made = Logged(record.levelname.lower(), event, detail, int(record.created * 1_000))
        with self._guard:
            known = self._found.pop((event, detail), None)
            self._found[event, detail] = made if known is None else replace(made, count=known.count + 1)
            if len(self._found) > self._most:
                self._found.popitem(last=False)

    def newest(self) -> tuple[Logged, ...]:
        """What is kept, the newest first."""
        with self._guard:
            return tuple(reversed(self._found.values()))


def _detail(entry: Mapping[str, Any], record: logging.LogRecord) -> str:
    """The other values of a line, and the error it was logged with."""
    given = {name: value for name, value in entry.items() if name not in _OF_LOG and name[0] != "_"}
    parts = [f"{name} {_text(value)}" for name, value in given.items()]
    error = entry.get("exc_info") or (record.exc_info[1] if record.exc_info else None)
    if isinstance(error, BaseException):
        parts.append(f"{type(error).__name__}: {hide_secrets(None, '', {'error': str(error)})['error']}")
    return ", ".join(parts)[:SHOWN]


def _text(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
