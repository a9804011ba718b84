"""Tokens of a call: what the server says, what we count ourselves, and what is charged of the two.

**Output.** Every event that carries text is at least one token: that is our count. More tokens than that are
in order where no event shows them: the end mark (`END_TOKENS`); in an answer cut at `max_tokens` the bytes of
a character that isn't complete (`UNFINISHED_TOKENS` of one byte each); characters beyond ASCII, whose event
may stand for as many tokens as they have bytes; a stop sequence that is cut off, the marks
around reasoning (`MARK_TOKENS`), and tool calls, whose text is parsed before it is shown (at most one token a
byte, and `TOOL_TOKENS` around each). Servers that put several tokens into one event, and any that says more
than that, are asked for the tokens of the whole text: up to `SPLIT_SHARE` more than these are in order too,
since a text can be generated in other pieces than a tokeniser would cut.

**Input.** The prompt is tokenised by the server while it generates, and must be what it says of the call, but
for the mark a text may begin with (`BEGIN_TOKENS`). Servers that don't tokenise chats are held to the bound
that was set aside.

**The rule:** where both agree, what the server says; otherwise the lower one, and it is logged and counted.
A call that is cut is charged the same way for what came of it; before the first token, nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from oracle.gateway.usage import TokenBounds

Json = Mapping[str, Any]

END_TOKENS: Final = 1
UNFINISHED_TOKENS: Final = 3
CUT: Final = "length"
"""Why an answer ended that has no end mark."""
MARK_TOKENS: Final = 8
TOOL_TOKENS: Final = 32
BEGIN_TOKENS: Final = 1
SPLIT_SHARE: Final = 50
"""One token in so many."""
_EXACT: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server says a call took. None is what it doesn't say."""

    input: int | None = None
    cached: int | None = None
    output: int | None = None


def read_usage(found: object) -> Usage | None:
    """A `usage` object; None if there is none, or it holds anything but whole numbers."""
    if not isinstance(found, dict):
        return None
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    given = (found.get("prompt_tokens"), cached, found.get("completion_tokens"))
    if any(value is not None and not _is_count(value) for value in given):
        return None
    return Usage(*given)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _EXACT


@dataclass(slots=True)
class Tally:
    """What the events of one call say and show, as they come."""

    events: int = 0
    shown: int = 0
    """Most tokens that what was shown can be, without the end."""
    text: list[str] = field(default_factory=list)
    begun: bool = False
    """Whether the prompt was read: an event has come that generating made."""
    finish: str | None = None
    reported: Usage | None = None
    _calls: set[int] = field(default_factory=set)
    _reasons: bool = False

    def see(self, chunk: Json) -> None:
        """Count an event of a stream."""
        progress = chunk.get("prompt_progress")
        if isinstance(progress, dict):
            if _is_count(progress.get("total")) and _is_count(progress.get("cache")):
                self.reported = Usage(progress["total"], progress["cache"], None)
            return
        if "usage" in chunk and (usage := read_usage(chunk["usage"])) is not None:
            self.reported = usage
        for choice in chunk.get("choices") or ():
            if isinstance(choice, dict):
                self._see_choice(choice)

    def _see_choice(self, choice: Json) -> None:
        delta = choice.get("delta")
        shown = delta if isinstance(delta, dict) else choice
        most = 0
        for name, text in shown.items():
            if name in _TEXTS and text and isinstance(text, str):
                self.text.append(text)
                most += 1 if text.isascii() else _most(text)
                if not self._reasons and name in _REASONS:
                    self._reasons = True
                    self.shown += MARK_TOKENS
        tools = self._tool_bytes(shown["tool_calls"]) if "tool_calls" in shown else 0
        if most or tools:
            self.begun = True
            self.events += 1
            self.shown += max(1, most) + tools
        if isinstance(choice.get("finish_reason"), str):
            self.begun, self.finish = True, choice["finish_reason"]

    def _tool_bytes(self, calls: object) -> int:
        if not isinstance(calls, list):
            return 0
        size = 0
        for call in calls:
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            if call.get("index", 0) not in self._calls:
                self._calls.add(call.get("index", 0))
                size += TOOL_TOKENS
            size += sum(len(str(function.get(name) or "").encode()) for name in ("name", "arguments"))
        return size

    @property
    def whole_text(self) -> str:
        """All that was shown."""
        return "".join(self.text)

    def hidden(self, stop_bytes: int) -> int:
        """Most tokens at the end that nothing showed."""
        if self.finish is None:
            return 0
        return stop_bytes + (UNFINISHED_TOKENS if self.finish == CUT else END_TOKENS)

    def must_tokenise(self, stop_bytes: int) -> bool:
        """Whether our own count is too low to agree, so that the server must tokenise the answer."""
        reported = self.reported.output if self.reported else None
        return reported is not None and bool(self.text) and reported > self.shown + self.hidden(stop_bytes)


def _most(text: str) -> int:
    """Most tokens that an event's text beyond ASCII can be without a word of the tokeniser."""
    return sum(len(char.encode("utf-8", "replace")) for char in text if char > "\x7f")


_REASONS: Final = frozenset({"reasoning_content", "reasoning"})
_TEXTS: Final = _REASONS | {"content", "text", "refusal"}


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is charged. `disagreements` says where the server's count and ours differ."""

    input: int = 0
    cached: int = 0
    output: int = 0
    disagreements: tuple[str, ...] = ()


def agree(
    tally: Tally, most: TokenBounds, *, stop_bytes: int, own_input: int | None, own_output: int | None
) -> Agreed:
    """What both counts agree on, else the lower. `own_input` and `own_output` are from the tokeniser, None
    where it wasn't asked or doesn't say.
    """
    if not tally.begun:
        return Agreed()
    said = tally.reported or Usage()
    wrong: list[str] = []
    prompt = _agree_input(said.input, own_input, most.input, wrong)
    output = _agree_output(said.output, tally, own_output, stop_bytes, wrong)
    if output > most.output:
        wrong.append(f"output: {output} is over max_tokens {most.output}")
        output = most.output
    cached = min(said.cached or 0, prompt)
    if (said.cached or 0) > prompt:
        wrong.append(f"cached: the server says {said.cached}, of {prompt} in all")
    return Agreed(prompt, cached, output, tuple(wrong))


def _agree_input(said: int | None, own: int | None, most: int, wrong: list[str]) -> int:
    if said is None:
        wrong.append("input: the server doesn't say")
        said = own or 0
    elif own is not None and abs(said - own) > BEGIN_TOKENS:
        wrong.append(f"input: the server says {said}, we count {own}")
        said = min(said, own)
    if said > most:
        wrong.append(f"input: {said} is over its bound {most}")
    return min(said, most)


def _agree_output(said: int | None, tally: Tally, own: int | None, stop_bytes: int, wrong: list[str]) -> int:
    hidden = tally.hidden(stop_bytes)
    if said is None:
        if tally.finish:
            wrong.append("output: the server doesn't say")
        return tally.events
    high, counted = tally.shown + hidden, tally.events
    if own is not None:
        high, counted = max(high, own + math.ceil(own / SPLIT_SHARE) + hidden), max(counted, own)
    if tally.events <= said <= high:
        return said
    wrong.append(f"output: the server says {said}, we count {counted}")
    return min(said, counted)
