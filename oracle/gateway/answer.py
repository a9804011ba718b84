"""What a client gets of a call: the events of a stream, or one JSON body. Every byte of it is what the
receipt's `responseHash` is of: of a stream all before `[DONE]` or the receipt, whichever comes first.
"""

from __future__ import annotations

from typing import Any

from oracle.gateway import errors, fast_json, sse
from oracle.gateway.aggregate import Aggregate
from oracle.gateway.counting import Agreed
from oracle.gateway.engines import ENGINES
from oracle.gateway.errors import UpstreamFailed
from oracle.gateway.refusals import GatewayRefused
from oracle.gateway.requests import Call
from oracle.settings_upstreams import Kind
from scrip.call_receipts import RECEIPT_EVENT, SignedCallReceipt

Json = dict[str, Any]


class Answer:
    """One answer in the making. `most` bytes are the limit."""

    def __init__(self, call: Call, most: int) -> None:
        self._call, self._most = call, most
        self._added = ENGINES[call.upstream.engine].added
        self._aggregate = None if call.streams or call.kind is Kind.EMBEDDINGS else Aggregate(call.kind)
        self._sent = bytearray()
        self._size = 0
        self._role_shown = False
        self._last: Json = {}
        self._usage: Json = {}

    @property
    def content(self) -> bytes:
        """All bytes so far."""
        return bytes(self._sent)

    def add(self, chunk: Json, size: int) -> bytes:
        """Take up an event of the server, `size` bytes; returns what a client that streams gets of it.

        Raises UpstreamFailed over the limit.
        """
        self._size += size
        if self._size > self._most:
            raise UpstreamFailed(f"the answer is longer than {self._most} bytes", limit=self._most)
        chunk["model"] = self._call.model
        usage = chunk.pop("usage", None)
        if isinstance(usage, dict):
            self._usage = usage
        ours = False
        for name in self._added:
            if chunk.pop(name, None) is not None:
                ours = True
        if self._aggregate is not None:
            self._aggregate.add(chunk)
            return b""
        self._last = chunk
        choices = chunk.get("choices")
        if not choices or (ours and not self._is_role(choices)):
            return b""
        return self._keep(self._event(chunk))

    def whole(self, body: Json) -> None:
        """Take up the answer of a call that the server doesn't stream. Raises UpstreamFailed if too long."""
        body["model"] = self._call.model
        usage = body.pop("usage", None)
        self._usage = usage if isinstance(usage, dict) else {}
        self._last = body

    def end(self, agreed: Agreed, problem: GatewayRefused | None) -> bytes:
        """The last bytes before the receipt. With a problem, they say so."""
        usage = self.usage(agreed)
        if self._call.streams:
            if problem is not None:
                return self._keep(sse.event(errors.body(problem)))
            if not self._call.wants_usage:
                return b""
            return self._keep(self._event({**self._last, "choices": []}, usage))
        whole = {**self._last, "usage": usage} if self._aggregate is None else self._aggregate.answer(usage)
        if problem is None:
            return self._keep(fast_json.dumps(whole))
        return self._keep(errors.body(problem, {"partial": whole}))

    def usage(self, agreed: Agreed) -> Json:
        """The usage that is charged, in the shape of the server's."""
        counts: Json = {"prompt_tokens": agreed.input, "total_tokens": agreed.input + agreed.output}
        if self._call.kind is Kind.EMBEDDINGS:
            return {**self._usage, **counts}
        details = self._usage.get("prompt_tokens_details")
        return {
            **self._usage,
            **counts,
            "completion_tokens": agreed.output,
            "prompt_tokens_details": {
                **(details if isinstance(details, dict) else {}), "cached_tokens": agreed.cached,
            },
        }  # fmt: skip

    def _is_role(self, choices: list[Json]) -> bool:
        """Whether this is the first event to say who speaks: llama.cpp has it in an event of progress."""
        first = choices[0].get("delta")
        if self._role_shown or not isinstance(first, dict) or "role" not in first:
            return False
        self._role_shown = True
        return True

    def _event(self, chunk: Json, usage: Json | None = None) -> bytes:
        shown = {**chunk, "usage": usage} if self._call.wants_usage else chunk
        return sse.event(fast_json.dumps(shown))

    def _keep(self, data: bytes) -> bytes:
        self._sent += data
        return data


def trailer(signed: SignedCallReceipt, *, done: bool) -> bytes:
    """The end of a stream: `[DONE]` unless it was cut, and the receipt, which is where OpenAI's clients have
    stopped reading.
    """
    receipt = sse.event(signed.header().encode(), RECEIPT_EVENT)
    return sse.event(sse.DONE) + receipt if done else receipt
