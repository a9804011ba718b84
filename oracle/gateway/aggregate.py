"""One JSON answer from the events of a stream, as the server would have given it."""

from __future__ import annotations

from typing import Any, Final

from oracle.settings_upstreams import Kind

Json = dict[str, Any]

_GROWS: Final = frozenset({"content", "text", "reasoning_content", "reasoning", "refusal", "arguments"})
"""Texts that come in pieces. Others, such as a role or the name of a tool, come whole."""
_OBJECTS: Final = {Kind.CHAT: "chat.completion", Kind.COMPLETIONS: "text_completion"}


class Aggregate:
    """Puts events together. Every field is kept: texts and lists grow, anything else is the last one said."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._whole: Json = {}
        self._choice: Json = {"index": 0}

    def add(self, chunk: Json) -> None:
        """Take up an event."""
        for choice in chunk.get("choices") or ():
            _merge(self._choice, choice)
        self._whole.update(chunk)

    def answer(self, usage: Json) -> Json:
        """The whole answer, with the usage that is charged."""
        choice = dict(self._choice)
        if self._kind is Kind.CHAT:
            message = {"role": "assistant", "content": None, **choice.pop("delta", {})}
            if "tool_calls" in message:
                message["tool_calls"] = [_without_index(item) for item in message["tool_calls"]]
            elif message["content"] is None:
                message["content"] = ""
            choice["message"] = message
            choice.setdefault("logprobs", None)
        else:
            choice.setdefault("text", "")
        choice.setdefault("finish_reason", None)
        return {**self._whole, "object": _OBJECTS[self._kind], "choices": [choice], "usage": usage}


def _merge(into: Json, piece: Json) -> None:
    for key, value in piece.items():
        have = into.get(key)
        if isinstance(have, str) and isinstance(value, str):
            into[key] = have + value if key in _GROWS else value
        elif isinstance(have, dict) and isinstance(value, dict):
            _merge(have, value)
        elif key == "tool_calls" and isinstance(value, list):
            _merge_calls(into.setdefault(key, []), value)
        elif isinstance(have, list) and isinstance(value, list):
            have.extend(value)
        elif value is not None or key not in into:
            into[key] = _copy(value)


def _merge_calls(calls: list[Json], pieces: list[Json]) -> None:
    """Tool calls are told apart by their index."""
    for piece in pieces:
        index = piece.get("index", 0)
        call = next((item for item in calls if item.get("index", 0) == index), None)
        if call is None:
            calls.append(_copy(piece))
        else:
            _merge(call, piece)


def _copy(value: Any) -> Any:
    """Containers of our own: they grow, and the event may still be sent."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value


def _without_index(call: Json) -> Json:
    return {key: value for key, value in call.items() if key != "index"}
