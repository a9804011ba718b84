"""A call from its reservation to its receipt. Whatever happens in between, what came of it is charged and the
rest is released: a client that hangs up or takes too long, a server that fails, is slow or breaks off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Final, Protocol, TypeVar

from oracle.gateway import answer, errors, sse
from oracle.gateway.answer import Answer
from oracle.gateway.client import Client
from oracle.gateway.counters import CallCounters
from oracle.gateway.counting import Agreed, Tally, agree, read_usage
from oracle.gateway.errors import Busy, ClientGone, Failed, UpstreamFailed
from oracle.gateway.refusals import GatewayRefused, NotAtHand, NotServing
from oracle.gateway.requests import Call
from oracle.gateway.upstream import Upstream
from oracle.gateway.usage import CallUsage, Credential, Reservation, TokenBounds
from oracle.logging import get
from oracle.settings_upstreams import Kind, ServingSettings
from scrip.call_receipts import RECEIPT_HEADER, SignedCallReceipt
from scrip.hashing import keccak

Returned = TypeVar("Returned")
OK: Final = "ok"
RESERVES: Final = 2
CHARGES: Final = 16
SETTLE_S: Final = 3.0
"""Longest wait, as the node stops, for what calls have to charge."""

AGAIN_S: Final = 1.0
"""From one try to the next, where the store fails."""

_log = get(__name__)


class Charging(Protocol):
    """What a call needs of accounts (`oracle.gateway.accounts.Accounts` fits)."""

    def reserve(self, credential: Credential, model: str, most: TokenBounds, *, waits: bool) -> Reservation:
        """Set aside the most that a call can cost. Raises GatewayRefused; nothing is held then. Unless it
        `waits`, NotAtHand where memory alone won't do.
        """

    def charge(self, held: Reservation, used: CallUsage, *, waits: bool) -> SignedCallReceipt:
        """Charge what a call used and free the rest. Durable when it returns. Unless it `waits`, NotAtHand
        where it would; asked again it goes on.
        """

    def catch_up(self) -> None:
        """Store charges that didn't wait. May wait; after an error it is to be tried again."""

    def release(self, held: Reservation) -> None:
        """Free what a call holds; nothing is charged."""


class Calls:
    """Serves calls, each for its client. What accounts do without waiting is done on the loop: handing it to
    a thread takes longer. Where they block, threads wait for them: `CHARGES` for what is stored, many at a
    time in one transaction; and others for what begins, which never wait for a disk.
    """

    def __init__(self, settings: ServingSettings, accounts: Charging, counters: CallCounters) -> None:
        self._settings, self._accounts, self.counters = settings, accounts, counters
        self._upstreams: Mapping[str, Upstream] = {
            name: Upstream(name, given) for name, given in settings.upstreams.items()
        }
        self._opens = ThreadPoolExecutor(RESERVES, "gateway-reserve")
        self._closes = ThreadPoolExecutor(CHARGES, "gateway-charge")
        self._under_way: set[asyncio.Task[object]] = set()
        self._catching: asyncio.Task[None] | None = None
        self._behind = False
        self.running = 0

    async def close(self) -> None:
        """Let calls be settled, and close the connections to the inference servers."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=SETTLE_S)
        if self._catching is not None:
            await asyncio.wait((self._catching,), timeout=SETTLE_S)
            self._catching.cancel()
        for upstream in self._upstreams.values():
            upstream.close()
        self._opens.shutdown(wait=False)
        self._closes.shutdown(wait=False)

    async def serve(self, call: Call, credential: Credential, client: Client) -> None:
        """Serve a call to its end. Raises GatewayRefused for one that isn't begun."""
        if self.running >= self._settings.calls:
            raise Busy(f"{self.running} calls run already", self.running, self._settings.calls)
        task, started_ms = _this_task(), _now_ms()
        self.running += 1
        self._under_way.add(task)
        try:
            held = await self._reserve(call, credential)
            await _Course(self, call, held, client, started_ms).run(task)
        finally:
            self._under_way.discard(task)
            self.running -= 1
            client.close()

    async def _reserve(self, call: Call, credential: Credential) -> Reservation:
        """Nobody stops waiting for this, or what it set aside would be nobody's."""
        reserve = partial(self._accounts.reserve, credential, call.model, call.most)
        try:
            return reserve(waits=False)
        except NotAtHand:
            return await self._in(self._opens, partial(reserve, waits=True))

    def upstream(self, model: str) -> Upstream:
        """The server of a model."""
        return self._upstreams[model]

    @property
    def most_bytes(self) -> int:
        """Longest answer."""
        return self._settings.max_answer_bytes

    async def charge(self, held: Reservation, used: CallUsage) -> SignedCallReceipt:
        """Charge a call. Once begun it is done, whatever becomes of who waits for it."""
        charge = partial(self._accounts.charge, held, used)
        try:
            signed = charge(waits=False)
        except NotAtHand:
            return await self._in(self._closes, partial(charge, waits=True))
        # The answer leaves at the end of this turn of the loop.
        asyncio.get_running_loop().call_soon(self._catch_up)
        return signed

    def _catch_up(self) -> None:
        """Have the store catch up, in a thread: with more than one charge at a time, when there are many."""
        self._behind = True
        if self._catching is None:
            self._catching = asyncio.create_task(self._store())

    async def _store(self) -> None:
        try:
            while self._behind:
                self._behind = False
                try:
                    await self._in(self._closes, self._accounts.catch_up)
                except Exception as error:
                    self._behind = True
                    _log.error("charges aren't stored yet, they are in the log", exc_info=error)
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._catching = None

    async def release(self, held: Reservation) -> None:
        """Charge nothing."""
        await self._in(self._closes, lambda: self._accounts.release(held))

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], Returned]) -> Returned:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(threads, work))


class _Course:
    """One call while it runs."""

    def __init__(self, calls: Calls, call: Call, held: Reservation, client: Client, started_ms: int) -> None:
        self._calls, self._call, self._held, self._client = calls, call, held, client
        self._started_ms = started_ms
        self._upstream = calls.upstream(call.model)
        self._tally = Tally()
        self._answer = Answer(call, calls.most_bytes)
        self._request_hash = b""
        self._counting: asyncio.Task[int | None] | None = None
        self._task: asyncio.Task[object]
        self._generating = self._holds = True

    async def run(self, task: asyncio.Task[object]) -> None:
        """Have the server generate until it ends, the client leaves or `task`, which runs this, is cancelled
        otherwise, as when the node stops; and settle what came of it.
        """
        self._task = task
        asyncio.get_running_loop().call_soon(self._sent)
        try:
            problem = await self._generate()
        except asyncio.CancelledError:
            stops = "this node stops. Ask again in a moment"
            problem = NotServing(stops) if self._generating else ClientGone("the client hung up")
            task.uncancel()
        self._generating = False
        await self._settle_anyhow(problem)

    def _sent(self) -> None:
        """What there is time for while the server works."""
        self._hash_request()
        self._client.gone.add_done_callback(lambda _: self._cut())

    def _cut(self) -> None:
        """Have the server stop, as nobody waits for more."""
        if self._generating:
            self._generating = False
            self._task.cancel()

    async def _settle_anyhow(self, problem: GatewayRefused | None) -> None:
        try:
            await self._settle(problem)
        except Exception as error:
            refused = error if isinstance(error, GatewayRefused) else self._unexpected("not charged", error)
            await self._release()
            self._calls.counters.ended(self._call.model, Agreed(), "uncharged")
            await self._refuse(refused)

    async def _generate(self) -> GatewayRefused | None:
        """Have the server generate, and pass it on. Returns what kept it from ending well."""
        try:
            await self._upstream.enter()
            try:
                if self._call.upstream.count_input and self._call.kind is not Kind.EMBEDDINGS:
                    asyncio.get_running_loop().call_soon(self._count)  # the call itself is sent first
                await self._pass_on()
            finally:
                self._upstream.leave()
        except GatewayRefused as refused:
            return refused
        except Exception as error:
            return self._unexpected("call failed", error)
        return None

    def _unexpected(self, what: str, error: Exception) -> Failed:
        _log.error(what, model=self._call.model, exc_info=error)
        return Failed("an unexpected error; see the node's log")

    async def _release(self) -> None:
        if self._holds:
            self._holds = False
            await self._calls.release(self._held)

    async def _pass_on(self) -> None:
        if self._call.kind is Kind.EMBEDDINGS:
            whole = await self._upstream.whole(self._call)
            self._tally.reported, self._tally.begun = read_usage(whole.get("usage")), True
            self._answer.whole(whole)
            return
        waiting = b""
        with closing(await self._upstream.generate(self._call)) as generation:
            while batch := await generation.batch():
                for chunk, size in batch:
                    self._tally.see(chunk)
                    waiting += self._answer.add(chunk, size)
                # Until there is a token nothing is sent, so that a failure still has its status.
                if waiting and self._tally.begun:
                    await self._client.write(waiting)
                    waiting = b""
        if not self._tally.begun:
            raise UpstreamFailed(f"{self._call.model}: the inference server gave no answer")

    async def _settle(self, problem: GatewayRefused | None) -> None:
        agreed = await self._agree(whole=problem is None)
        result = problem.code if problem else OK
        if not self._tally.begun:
            await self._release()
            self._calls.counters.ended(self._call.model, agreed, result)
            if problem is not None:
                await self._refuse(problem)
            return
        last = self._answer.end(agreed, problem)
        signed = await self._calls.charge(self._held, self._used(agreed, whole=problem is None))
        self._holds = False
        await self._hand_over(last, signed, problem)
        self._calls.counters.ended(self._call.model, agreed, result)

    async def _hand_over(
        self, last: bytes, signed: SignedCallReceipt, problem: GatewayRefused | None
    ) -> None:
        if isinstance(problem, ClientGone):
            return
        try:
            if self._call.streams:
                await self._client.end(last + answer.trailer(signed, done=problem is None))
                return
            headers = {RECEIPT_HEADER: signed.header(), **(problem.headers if problem else {})}
            await self._client.answer(problem.status if problem else 200, last, headers)
        except ClientGone:
            _log.info("client gone before its receipt", model=self._call.model)

    async def _refuse(self, problem: GatewayRefused) -> None:
        """Say why there is no answer, or no more of it."""
        if isinstance(problem, ClientGone):
            return
        content = errors.body(problem)
        try:
            if self._client.started:
                await self._client.end(sse.event(content))
            else:
                await self._client.refuse(problem, content)
        except ClientGone:
            return

    async def _agree(self, *, whole: bool) -> Agreed:
        own_input = await self._own_input(whole=whole)
        own_output = None
        stop = self._call.hidden_bytes
        if self._tally.must_tokenise(stop):
            model = str(self._call.body["model"])
            ask = self._upstream.engine.tokenise(self._tally.whole_text, model, special=False)
            own_output = await self._upstream.count(ask)
        return agree(
            self._tally, self._call.most, stop_bytes=stop, own_input=own_input, own_output=own_output
        )

    async def _own_input(self, *, whole: bool) -> int | None:
        """Tokens of the prompt by the tokeniser. A call that was cut doesn't wait for it."""
        counting = self._counting
        if counting is None:
            return None
        if not whole and not counting.done():
            counting.cancel()
            return None
        return await counting

    def _count(self) -> None:
        if self._generating:
            self._counting = asyncio.create_task(self._count_input())

    async def _count_input(self) -> int | None:
        engine, call = self._upstream.engine, self._call
        rendered, template = None, engine.template(call.kind, call.body)
        if template is not None:
            prompt = (await self._upstream.ask(template) or {}).get("prompt")
            rendered = prompt if isinstance(prompt, str) else None
        return await self._upstream.count(engine.tokenise_prompt(call.kind, call.body, rendered))

    def _hash_request(self) -> bytes:
        if not self._request_hash:
            self._request_hash = keccak(self._call.raw)
        return self._request_hash

    def _used(self, agreed: Agreed, *, whole: bool) -> CallUsage:
        """What is charged. Bytes are kept of calls that can be run again: those that came to their end."""
        keep, content = self._call.deterministic and whole, self._answer.content
        return CallUsage(
            input=agreed.input,
            cached=agreed.cached,
            output=agreed.output,
            request_hash=self._hash_request(),
            response_hash=keccak(content),
            started_ms=self._started_ms,
            ended_ms=_now_ms(),
            request=self._call.raw if keep else b"",
            response=content if keep else b"",
            deterministic=keep,
        )


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine runs in one)
    return task


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
