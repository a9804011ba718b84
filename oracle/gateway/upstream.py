"""One inference server: its connections, how many calls it gets at once, its time-outs and its errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Final

from oracle.gateway.connections import Connections, ConnectSlow, Exchange, Lost
from oracle.gateway.engines import ENGINES, Ask, token_count
from oracle.gateway.errors import BadRequest, Busy, OverContext, UpstreamFailed, UpstreamSlow
from oracle.gateway.requests import Call
from oracle.gateway.sse import DONE, Parser
from oracle.logging import get
from oracle.settings_upstreams import UpstreamSettings

COUNT_S: Final = 2.0
"""Longest wait for a tokeniser."""
_ERROR_BYTES: Final = 65_536

_log = get(__name__)
Json = dict[str, Any]
Event = tuple[Json, int]


class Upstream:
    """Connections to one server, for one event loop."""

    def __init__(self, model: str, settings: UpstreamSettings) -> None:
        self.settings, self.engine = settings, ENGINES[settings.engine]
        self._model = model
        self._room = asyncio.Semaphore(settings.calls)

    @cached_property
    def _connections(self) -> Connections:
        key = self.settings.api_key_file
        secret = {} if key is None else {"Authorization": f"Bearer {key.read_text('utf-8').strip()}"}
        return Connections(self.settings.url, secret, self.settings.connect_s)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """A place among the calls that run. Raises Busy if none gets free in time."""
        try:
            async with asyncio.timeout(self.settings.queue_s if self._room.locked() else None):
                await self._room.acquire()
        except TimeoutError:
            raise Busy(
                f"{self._model}: {self.settings.calls} calls run already, waited {self.settings.queue_s} s",
                limit=self.settings.calls,
            ) from None
        try:
            yield
        finally:
            self._room.release()

    async def stream(self, call: Call) -> AsyncGenerator[list[Event], None]:
        """The events of a call and their sizes in bytes, in batches as they come; ends after the last.
        Closing it ends the call at the server. Raises UpstreamFailed, UpstreamSlow, Busy, BadRequest.
        """
        parser, ends = Parser(), time.monotonic() + self.settings.total_s
        async with self._open(f"/v1/{call.kind}", call.body) as reply:
            wait = self.settings.first_token_s
            due = min(time.monotonic() + wait, ends)
            while True:
                chunk = await self._read(reply, due, wait)
                if not chunk:
                    raise UpstreamFailed(f"{self._model}: the inference server broke off in the middle")
                batch, wrong, done = self._decode(parser.feed(chunk))
                if batch:
                    yield batch
                    wait = self.settings.token_s
                    due = min(time.monotonic() + wait, ends)
                if wrong is not None:
                    raise wrong
                if done:
                    return

    async def whole(self, call: Call) -> Json:
        """The answer of a call that isn't streamed. Raises as `stream`."""
        async with self._open(f"/v1/{call.kind}", call.body) as reply:
            try:
                async with asyncio.timeout(self.settings.total_s):
                    return self._object(await self._read_whole(reply))
            except TimeoutError:
                raise self._slow(self.settings.total_s) from None
            except OSError as error:
                raise self._failed(error) from None

    async def count(self, ask: Ask | None) -> int | None:
        """Tokens, by the server's tokeniser; None if it doesn't say."""
        reply = None if ask is None else await self.ask(ask)
        return None if reply is None else token_count(reply)

    async def ask(self, ask: Ask) -> Json | None:
        """The reply to a small question; None if there is none."""
        try:
            async with asyncio.timeout(COUNT_S), self._open(ask.path, ask.body) as reply:
                return self._object(await self._read_whole(reply))
        except (OSError, UpstreamFailed, UpstreamSlow, BadRequest, Busy) as error:
            _log.warning(
                "inference server doesn't count", model=self._model, path=ask.path, reason=str(error)
            )
            return None

    @asynccontextmanager
    async def _open(self, path: str, body: Json) -> AsyncIterator[Exchange]:
        reply = await self._post(path, json.dumps(body).encode())
        try:
            if reply.status != 200:
                await self._refuse(reply)
            yield reply
        finally:
            self._connections.release(reply)

    async def _post(self, path: str, data: bytes) -> Exchange:
        for again in (False, True):
            try:
                async with asyncio.timeout(self.settings.first_token_s):
                    return await self._connections.post(path, data, anew=again)
            except ConnectSlow:
                raise self._slow(self.settings.connect_s) from None
            except TimeoutError:
                raise self._slow(self.settings.first_token_s) from None
            except Lost as error:  # most likely it was kept, and the server has closed it meanwhile
                if again:
                    raise self._failed(error) from None
            except OSError as error:
                raise self._failed(error) from None
        raise AssertionError("unreachable")

    async def _read(self, reply: Exchange, due: float, wait: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                return await reply.read()
        except TimeoutError:
            raise self._slow(wait) from None
        except OSError as error:
            raise self._failed(error) from None

    async def _read_whole(self, reply: Exchange, most: int | None = None) -> bytes:
        """All of an answer; of one that is longer than `most`, what came first."""
        found = bytearray()
        while (most is None or len(found) < most) and (data := await reply.read()):
            found += data
        return bytes(found)

    def _decode(self, found: list[bytes]) -> tuple[list[Event], UpstreamFailed | None, bool]:
        """Events up to the last, or to what is wrong: what came before that still counts."""
        batch: list[Event] = []
        for data in found:
            if data == DONE:
                return batch, None, True
            try:
                chunk = self._object(data)
                if chunk.get("error"):
                    raise UpstreamFailed(f"{self._model}: {_message(chunk)}")
            except UpstreamFailed as wrong:
                return batch, wrong, False
            batch.append((chunk, len(data)))
        return batch, None, False

    def _object(self, data: bytes) -> Json:
        try:
            found = json.loads(data.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UpstreamFailed(
                f"{self._model}: the inference server sent something that isn't a JSON object"
            )
        return found

    async def _refuse(self, reply: Exchange) -> None:
        """Raise what an error of the server means to our client."""
        try:
            async with asyncio.timeout(self.settings.token_s):
                error = json.loads(await self._read_whole(reply, _ERROR_BYTES))
        except (OSError, ValueError):
            error = {}
        said = f"{self._model}: {_message(error)}"
        if reply.status in (400, 422):
            raise (OverContext if _is_over_context(error) else BadRequest)(said)
        if reply.status in (429, 503):
            raise Busy(said)
        _log.warning("inference server refused a call", model=self._model, status=reply.status, reason=said)
        raise UpstreamFailed(f"{self._model}: the inference server answered {reply.status}")

    def _slow(self, seconds: float) -> UpstreamSlow:
        return UpstreamSlow(
            f"{self._model}: nothing from the inference server for {seconds:.0f} s", limit=seconds
        )

    def _failed(self, error: BaseException) -> UpstreamFailed:
        _log.warning("inference server failed", model=self._model, reason=f"{type(error).__name__}: {error}")
        return UpstreamFailed(f"{self._model}: the inference server can't be reached, or broke off")


def _message(reply: object) -> str:
    error = reply.get("error") if isinstance(reply, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    if said is None and isinstance(reply, dict):
        said = reply.get("message") or reply.get("detail")  # SGLang and FastAPI put it there
    return str(said)[:300] if said else "the inference server refused the call"


def _is_over_context(reply: object) -> bool:
    """llama.cpp has a type for it; vLLM and SGLang say it in words."""
    error = reply.get("error") if isinstance(reply, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    said = _message(reply).lower()
    return kind == "exceed_context_size_error" or "context length" in said or "context size" in said
