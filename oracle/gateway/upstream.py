"""One inference server: its connections, how many calls it gets at once, its time-outs and its errors."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any, Final

from oracle.gateway import fast_json
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
        self.model = model
        self._room = asyncio.Semaphore(settings.calls)

    @cached_property
    def _connections(self) -> Connections:
        key = self.settings.api_key_file
        secret = {} if key is None else {"Authorization": f"Bearer {key.read_text('utf-8').strip()}"}
        return Connections(self.settings.url, secret, self.settings.connect_s)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    async def enter(self) -> None:
        """Take a place among the calls that run, until `leave`. Raises Busy if none gets free in time."""
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(self.settings.queue_s):
                await self._room.acquire()
        except TimeoutError:
            raise Busy(
                f"{self.model}: {self.settings.calls} calls run already, waited {self.settings.queue_s} s",
                limit=self.settings.calls,
            ) from None

    def leave(self) -> None:
        """Give the place to another call."""
        self._room.release()

    async def generate(self, call: Call) -> Generation:
        """Have the server begin a call. Raises UpstreamFailed, UpstreamSlow, Busy, BadRequest."""
        ends = _after(self.settings.total_s)
        reply = await self._open(f"/v1/{call.kind}", call.body, self.settings.first_token_s)
        return Generation(self, reply, ends)

    async def whole(self, call: Call) -> Json:
        """The answer of a call that isn't streamed. Raises as `generate`."""
        reply = await self._open(f"/v1/{call.kind}", call.body, self.settings.first_token_s)
        try:
            return self.object(await _read_whole(reply, self.settings.total_s))
        except TimeoutError:
            raise self.slow(self.settings.total_s) from None
        except OSError as error:
            raise self.failed(error) from None
        finally:
            self.release(reply)

    async def count(self, ask: Ask | None) -> int | None:
        """Tokens, by the server's tokeniser; None if it doesn't say."""
        reply = None if ask is None else await self.ask(ask)
        return None if reply is None else token_count(reply)

    async def ask(self, ask: Ask) -> Json | None:
        """The reply to a small question; None if there is none."""
        try:
            reply = await self._open(ask.path, ask.body, COUNT_S)
            try:
                return self.object(await _read_whole(reply, COUNT_S))
            finally:
                self.release(reply)
        except (OSError, UpstreamFailed, UpstreamSlow, BadRequest, Busy) as error:
            _log.warning("inference server doesn't count", model=self.model, path=ask.path, reason=str(error))
            return None

    def release(self, reply: Exchange) -> None:
        """Done with an answer. If it isn't whole, the server stops."""
        self._connections.release(reply)

    async def _open(self, path: str, body: Json, wait: float) -> Exchange:
        """An answer that has begun, within `wait` seconds; to be released."""
        reply = await self._post(path, fast_json.dumps(body), wait)
        if reply.status != 200:
            try:
                await self._refuse(reply)
            finally:
                self.release(reply)
        return reply

    async def _post(self, path: str, data: bytes, wait: float) -> Exchange:
        for again in (False, True):
            try:
                return await self._connections.post(path, data, _after(wait), anew=again)
            except ConnectSlow:
                raise self.slow(self.settings.connect_s) from None
            except TimeoutError:
                raise self.slow(wait) from None
            except Lost as error:  # most likely it was kept, and the server has closed it meanwhile
                if again:
                    raise self.failed(error) from None
            except OSError as error:
                raise self.failed(error) from None
        raise AssertionError("unreachable")

    def object(self, data: bytes) -> Json:
        """What a JSON text says that must be an object. Raises UpstreamFailed."""
        try:
            found = fast_json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UpstreamFailed(
                f"{self.model}: the inference server sent something that isn't a JSON object"
            )
        return found

    async def _refuse(self, reply: Exchange) -> None:
        """Raise what an error of the server means to our client."""
        try:
            error = fast_json.loads(await _read_whole(reply, self.settings.token_s, _ERROR_BYTES))
        except (OSError, ValueError):
            error = {}
        said = f"{self.model}: {_message(error)}"
        if reply.status in (400, 422):
            raise (OverContext if _is_over_context(error) else BadRequest)(said)
        if reply.status in (429, 503):
            raise Busy(said)
        _log.warning("inference server refused a call", model=self.model, status=reply.status, reason=said)
        raise UpstreamFailed(f"{self.model}: the inference server answered {reply.status}")

    def slow(self, seconds: float) -> UpstreamSlow:
        """What to raise after so long without a word."""
        return UpstreamSlow(
            f"{self.model}: nothing from the inference server for {seconds:.0f} s", limit=seconds
        )

    def failed(self, error: BaseException) -> UpstreamFailed:
        """What to raise for an error of the connection, which is logged."""
        _log.warning("inference server failed", model=self.model, reason=f"{type(error).__name__}: {error}")
        return UpstreamFailed(f"{self.model}: the inference server can't be reached, or broke off")


class Generation:
    """The events of a call that a server generates. Closing it ends the call there."""

    def __init__(self, upstream: Upstream, reply: Exchange, ends: float) -> None:
        self._upstream, self._reply, self._parser = upstream, reply, Parser()
        self._wrong: UpstreamFailed | None = None
        self._done = False
        self._wait, self._ends = upstream.settings.first_token_s, ends

    async def batch(self) -> list[Event]:
        """The next events as they come, and their sizes in bytes; none after the last. Raises UpstreamFailed,
        UpstreamSlow.
        """
        due = min(_after(self._wait), self._ends)
        found: list[Event] = []
        while not (found or self._done):
            if self._wrong is not None:
                raise self._wrong
            found = self._decode(self._parser.feed(await self._read(due)))
        self._wait = self._upstream.settings.token_s
        return found

    def close(self) -> None:
        """Read no more."""
        self._upstream.release(self._reply)

    async def _read(self, due: float) -> bytes:
        try:
            data = await self._reply.read(due)
        except TimeoutError:
            raise self._upstream.slow(self._wait) from None
        except OSError as error:
            raise self._upstream.failed(error) from None
        if not data:
            raise UpstreamFailed(f"{self._upstream.model}: the inference server broke off in the middle")
        return data

    def _decode(self, found: list[bytes]) -> list[Event]:
        """Events up to the last, or to what is wrong: what came before that still counts."""
        batch: list[Event] = []
        for data in found:
            if data == DONE:
                self._done = True
                break
            try:
                chunk = self._upstream.object(data)
                if chunk.get("error"):
                    raise UpstreamFailed(f"{self._upstream.model}: {_message(chunk)}")
            except UpstreamFailed as wrong:
                self._wrong = wrong
                break
            batch.append((chunk, len(data)))
        return batch


async def _read_whole(reply: Exchange, wait: float, most: int | None = None) -> bytes:
    """All of an answer, within `wait` seconds; of one that is longer than `most`, what came first."""
    found, due = bytearray(), _after(wait)
    while (most is None or len(found) < most) and (data := await reply.read(due)):
        found += data
    return bytes(found)


def _after(seconds: float) -> float:
    """The loop's time in so many seconds."""
    return asyncio.get_running_loop().time() + seconds


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
