"""One call, run again: what it should have cost by a server of the watcher's own, and what was charged.

**Counts judge, texts don't.** The same model at temperature 0 may say something else on another platform, so
another text is no fraud. Where text and end are the same, the tokens are those that running it again took,
with room for one end mark that servers may count or not (`END_TOKENS`). Where they differ, the most that the
text which was answered can be is what counts: its length by the watcher's tokeniser, and what no text shows,
as in `oracle.gateway.counting`. The prompt is tokenised by running the call again; a difference of
`BEGIN_TOKENS` is none. Within the room nothing is found; beyond it, everything above our count is.

Nothing is found either where the watcher can't say: a call that isn't shown any more, or whose bytes aren't
those that the receipt has the hashes of, or that its servers can't run. What wasn't seen proves nothing; it
is published, so that buyers may draw their conclusions.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.crypto import keccak

from oracle.gateway.aggregate import Aggregate
from oracle.gateway.counting import (
    BEGIN_TOKENS,
    END_TOKENS,
    MARK_TOKENS,
    SPLIT_SHARE,
    UNFINISHED_TOKENS,
    Tally,
)
from oracle.gateway.errors import Busy, UpstreamFailed, UpstreamSlow
from oracle.gateway.refusals import GatewayRefused
from oracle.gateway.requests import Call, parse
from oracle.gateway.sse import DONE, Parser
from oracle.gateway.upstream import Upstream
from oracle.rerun import Unable
from oracle.settings_upstreams import Kind, ServingSettings
from scrip.call_receipts import CallReceipt, model_id
from scrip.rates import Rate
from scrip.session_api import CallBody

HONEST: Final = "counts.agree"
INFLATED: Final = "counts.inflated"
DIFFERS: Final = "text.differs"
"""The text is another one here, and its counts are in order: it can't be judged."""
UNSHOWN: Final = "bytes.missing"
FOREIGN: Final = "bytes.hash"
UNFIT: Final = "call.unfit"
"""It isn't deterministic, or our servers don't run it."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What an audit of a call came to. `units` were charged and not due; 0 unless `check` is `INFLATED`."""

    check: str
    reason: str
    units: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of a call as we count them; at most `most_input` and `most_output` are in order."""

    input: int
    output: int
    most_input: int
    most_output: int
    same: bool


def judge(receipt: CallReceipt, body: CallBody | None, rate: Rate | None, settings: ServingSettings) -> Found:
    """Run a call again and compare. `body` None: it isn't shown; `rate` None: its model isn't on the rate
    card. Raises Unable if the watcher's own server is in the way.
    """
    if body is None:
        return Found(UNSHOWN, "the provider shows no bytes of this call")
    if (keccak(body.request), keccak(body.response)) != (receipt.request_hash, receipt.response_hash):
        return Found(FOREIGN, "the bytes shown aren't those that the receipt has the hashes of")
    try:
        call = parse(_kind(body.request), body.request, settings)
    except GatewayRefused as refused:
        # Its code alone: this is published, and a message may quote what was asked.
        return Found(UNFIT, f"can't be run here: {refused.code}")
    if model_id(call.model) != receipt.model:
        return Found(FOREIGN, f"the request asks for {call.model}, the receipt is for another model")
    if not call.deterministic:
        return Found(UNFIT, "the call isn't deterministic")
    if rate is None:
        return Found(UNFIT, f"no rate for {call.model} on the provider's rate card")
    shown = _answered(call, body.response)
    if shown is None:
        return Found(UNFIT, "the answer isn't one of a call that came to its end")
    return compare(receipt, rate, asyncio.run(_count(call, shown)))


def compare(receipt: CallReceipt, rate: Rate, counts: Counts) -> Found:
    """What was charged beyond what is due by these counts."""
    said = f"charged {receipt.input_tokens} and {receipt.output_tokens} tokens"
    ours = f"counted {counts.input} and {counts.output}"
    if receipt.input_tokens <= counts.most_input and receipt.output_tokens <= counts.most_output:
        if counts.same:
            return Found(HONEST, f"{said}, {ours}")
        return Found(DIFFERS, f"another text here, its counts are in order: {said}, {ours}")
    tokens_in = receipt.input_tokens if receipt.input_tokens <= counts.most_input else counts.input
    tokens_out = receipt.output_tokens if receipt.output_tokens <= counts.most_output else counts.output
    due = rate.units(tokens_in, min(receipt.cached_tokens, tokens_in), tokens_out)
    # What the receipt's own tokens cost bounds it: a rate that was another one then proves nothing.
    charged = min(
        receipt.units, rate.units(receipt.input_tokens, receipt.cached_tokens, receipt.output_tokens)
    )
    return Found(INFLATED, f"{said}, {ours}: {due} units are due", max(0, charged - due))


def _kind(request: bytes) -> Kind:
    """Which endpoint a kept request was for: chats have messages."""
    try:
        given = json.loads(request)
    except (ValueError, RecursionError):
        return Kind.CHAT  # which refuses it
    return Kind.COMPLETIONS if isinstance(given, dict) and "messages" not in given else Kind.CHAT


def _answered(call: Call, response: bytes) -> dict[str, Any] | None:
    """The choice that was answered, as if it hadn't been streamed; None if it is no answer."""
    try:
        whole = _whole_of(call, response) if call.streams else json.loads(response)
        choice = whole["choices"][0]
        return dict(choice) if isinstance(choice.get("finish_reason"), str) else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, UpstreamFailed):
        return None


def _whole_of(call: Call, response: bytes) -> dict[str, Any]:
    aggregate = Aggregate(call.kind)
    for data in Parser().feed(response):
        if data != DONE:
            aggregate.add(json.loads(data))
    return aggregate.answer({})


async def _count(call: Call, shown: dict[str, Any]) -> Counts:
    """Run a call again, and tokenise what it was answered if that is another text."""
    upstream, tally, aggregate = Upstream(call.model, call.upstream), Tally(), Aggregate(call.kind)
    try:
        with closing(await upstream.generate(call)) as generation:
            while batch := await generation.batch():
                for chunk, _ in batch:
                    tally.see(chunk)
                    aggregate.add(chunk)
        said = tally.reported
        if said is None or said.input is None or said.output is None:
            raise Unable(f"{call.model}: our server doesn't say what a call took")
        most_input = said.input + BEGIN_TOKENS
        if _said(aggregate.answer({})["choices"][0]) == _said(shown):
            return Counts(said.input, said.output, most_input, said.output + END_TOKENS, same=True)
        most = await _most_output(upstream, call, shown)
        return Counts(said.input, most, most_input, most, same=False)
    except (Busy, UpstreamFailed, UpstreamSlow) as failed:
        raise Unable(f"our own server of {call.model}: {failed}") from failed
    finally:
        upstream.close()


async def _most_output(upstream: Upstream, call: Call, shown: Json) -> int:
    """Most tokens that an answer can be, by the rule that gateways count by."""
    text, hidden = _text(shown), END_TOKENS + UNFINISHED_TOKENS + call.hidden_bytes
    own = 0
    if text:
        ask = upstream.engine.tokenise(text, str(call.body["model"]), special=False)
        counted = await upstream.count(ask)
        if counted is None:
            raise Unable(f"{call.model}: our server doesn't tokenise")
        own = counted
    message = _message(shown)
    tools = Tally()
    tools.see({"choices": [{"delta": {"tool_calls": message.get("tool_calls")}}]})
    marks = MARK_TOKENS if message.get("reasoning_content") or message.get("reasoning") else 0
    return own + math.ceil(own / SPLIT_SHARE) + hidden + tools.shown + marks


def _message(choice: Json) -> Json:
    found = choice.get("message", choice)
    return found if isinstance(found, Mapping) else {}


def _text(choice: Json) -> str:
    found = _message(choice)
    return "".join(str(found[name]) for name in _TEXTS if isinstance(found.get(name), str))


def _said(choice: Json) -> tuple[Any, ...]:
    """What makes two answers the same: texts, tools and how they ended. Names of tool calls are random."""
    calls = _message(choice).get("tool_calls") or ()
    tools = [item.get("function") for item in calls if isinstance(item, Mapping)]
    return _text(choice), tools, choice.get("finish_reason")


_TEXTS: Final = ("reasoning_content", "reasoning", "content", "text", "refusal")
