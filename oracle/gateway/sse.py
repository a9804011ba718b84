"""Server-sent events, as they come from an inference server: bytes in, events out.

After the WHATWG definition, in what inference servers use of it: lines end in LF or CRLF, a blank line ends
an event, its `data` lines are joined by LF, comments and other fields are left out.
"""

from __future__ import annotations

from typing import Final

from oracle.gateway.errors import UpstreamFailed

MOST_EVENT_BYTES: Final = 4 * 2**20
"""Longest event. One token with its twenty likeliest alternatives has some kilobytes."""

DONE: Final = b"[DONE]"
"""Data of the last event."""


class Parser:
    """Cuts a stream of bytes into the data of its events. Never holds more than `most` bytes."""

    def __init__(self, most: int = MOST_EVENT_BYTES) -> None:
        self._most = most
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that `chunk` completes. Raises UpstreamFailed for one that is too long."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        found = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                self._take(line)
            elif self._data:
                found.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        if self._size + len(self._rest) > self._most:
            raise UpstreamFailed(f"the inference server sent an event of more than {self._most} bytes")
        return found

    @property
    def pending(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._rest or self._data)

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)


def event(data: bytes, name: str = "") -> bytes:
    """An event with one line of data, for our clients."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"
