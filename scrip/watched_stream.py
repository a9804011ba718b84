"""The bytes of a response as they pass, for whoever must see them all: a receipt may come after the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, Final

from scrip.call_receipts import RECEIPT_EVENT

_DONE: Final = b"data: [DONE]"
_EVENT: Final = b"event: " + RECEIPT_EVENT.encode()
_STREAMS: Final = ("SyncByteStream", "AsyncByteStream")


def watched(stream: Any, ended: Callable[[bytes], None], *, partial: bool) -> Any:
    """`stream`, a response's, which tells `ended` all that has passed once it ends.

    With `partial` also once it is left before its end. Stock clients leave a stream at its `[DONE]`: then the
    rest, which is the receipt, is still read. Works for httpx and for httpx2, which is the same under another
    name.
    """
    bases = tuple(kind for kind in type(stream).__mro__ if kind.__name__ in _STREAMS)
    return _watched_type(bases)(stream, ended, partial)


@cache
def _watched_type(bases: tuple[type, ...]) -> Any:
    return type("Watched", (_Watched, *bases), {})


def parted(body: bytes) -> tuple[bytes, str | None]:
    """A stream's events before `[DONE]` or its receipt, whichever is first; and the receipt, if it came."""
    at = body.find(_EVENT)
    ends = [end for end in (body.find(_DONE), at) if end >= 0]
    answered = body[: min(ends)] if ends else body
    line = body[at:].split(b"\n")[1:2] if at >= 0 else []
    if not line or not line[0].startswith(b"data: "):
        return answered, None
    return answered, line[0][6:].decode("utf-8", "replace")


class _Watched:
    def __init__(self, stream: Any, ended: Callable[[bytes], None], partial: bool) -> None:
        self._stream, self._ended, self._partial = stream, ended, partial
        self._parts: Any = None
        self._body = bytearray()
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        self._parts = iter(self._stream)
        for part in self._parts:
            self._body += part
            yield part
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._parts = aiter(self._stream)
        async for part in self._parts:
            self._body += part
            yield part
        self._end()

    def close(self) -> None:
        """Left, or at its end."""
        try:
            if self._receipt_follows():
                for part in self._parts:
                    self._body += part
        finally:
            self._stream.close()
            self._left()

    async def aclose(self) -> None:
        """Left, or at its end."""
        try:
            if self._receipt_follows():
                async for part in self._parts:
                    self._body += part
        finally:
            await self._stream.aclose()
            self._left()

    def _receipt_follows(self) -> bool:
        return self._open and self._partial and self._parts is not None and _DONE in self._body

    def _left(self) -> None:
        if self._partial:
            self._end()
        self._open = False

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._ended(bytes(self._body))
