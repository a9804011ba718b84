"""What a client asks, checked before anything is set aside: bounded tokens, one answer, known parameters."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from oracle.gateway.engines import ENGINES
from oracle.gateway.errors import BadRequest, NotOffered, OverContext, UnknownModel
from oracle.gateway.usage import TokenBounds
from oracle.settings_upstreams import Kind, ServingSettings, UpstreamSettings

MESSAGE_TOKENS: Final = 16
"""Bound of what a chat template puts around one message: marks, the role, line ends."""
ROLE_BYTES: Final = 12
"""What JSON puts around a role."""
TOOL_FACTOR: Final = 4
"""A template may indent the JSON of tools; no token of it is shorter than a byte."""
TOOL_TOKENS: Final = 1_024
"""Bound of what a template says about tools in general."""
INPUT_TOKENS: Final = 8
"""Bound of the marks around a text to complete or to embed."""
MOST_INPUTS: Final = 256

_SAMPLING: Final = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "min_p", "model", "presence_penalty",
    "repeat_penalty", "repetition_penalty", "seed", "stop", "stream", "stream_options", "temperature",
    "top_k", "top_p", "user",
})  # fmt: skip
_CHAT: Final = frozenset({
    "chat_template_kwargs", "max_completion_tokens", "messages", "metadata", "parallel_tool_calls",
    "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "tool_choice", "tools",
    "top_logprobs", "verbosity",
})  # fmt: skip
ALLOWED: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.CHAT: _SAMPLING | _CHAT,
    Kind.COMPLETIONS: _SAMPLING | {"prompt"},
    Kind.EMBEDDINGS: frozenset({"dimensions", "encoding_format", "input", "model", "user"}),
}
"""Parameters that are passed on. Any other is refused: it might change what a call costs."""

_FIXED: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
    "modalities": (None, ["text"]),
}
"""Parameters that may be given with these values only; they aren't passed on."""

_OURS: Final = frozenset({"metadata", "prompt_cache_key", "safety_identifier", "user"})
"""Parameters about the client, which the inference server doesn't need."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that can be served. `raw` is the body as it came, `body` what the inference server gets."""

    kind: Kind
    model: str
    upstream: UpstreamSettings
    body: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    streams: bool
    wants_usage: bool
    most: TokenBounds
    deterministic: bool

    @property
    def hidden_bytes(self) -> int:
        """Longest text that may be generated and not shown: a stop sequence."""
        stop = self.body.get("stop") or ()
        return max((len(text.encode()) for text in ([stop] if isinstance(stop, str) else stop)), default=0)


def parse(kind: Kind, raw: bytes, settings: ServingSettings) -> Call:
    """The call that a body asks for. Raises BadRequest, NotOffered, OverContext, UnknownModel."""
    given = _object(raw, settings.max_depth)
    name, upstream = _offer(given, kind, settings)
    _check_parameters(kind, given)
    streams = kind is not Kind.EMBEDDINGS and _flag(given, "stream")
    options = given.get("stream_options")
    if options is not None and (not isinstance(options, dict) or not options.keys() <= {"include_usage"}):
        raise NotOffered("stream_options: must be an object with include_usage", param="stream_options")
    body = {key: value for key, value in given.items() if key not in _FIXED and key not in _OURS}
    body["model"] = upstream.model or name
    texts, others = _PROMPTS[kind](given)
    output = 0
    if kind is not Kind.EMBEDDINGS:
        output = _output(given, kind, upstream)
        body.pop("max_completion_tokens", None)
        body["max_tokens"] = output
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
        ENGINES[upstream.engine].extend(body)
    prompt = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + others
    return Call(
        kind=kind,
        model=name,
        upstream=upstream,
        body=body,
        raw=raw,
        streams=streams,
        wants_usage=bool(options and options.get("include_usage")),
        most=TokenBounds(_input(prompt, kind, given, upstream), output),
        deterministic=kind is not Kind.EMBEDDINGS and _is_greedy(given),
    )


def _object(raw: bytes, max_depth: int) -> dict[str, Any]:
    try:
        given = _DECODER.decode(raw.removeprefix(BOM_UTF8).decode())
    except RecursionError:
        raise BadRequest("the body nests too deep", "too deep", max_depth) from None
    except ValueError as error:
        raise BadRequest(f"the body isn't JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadRequest(f"the body must be a JSON object, given {type(given).__name__}")
    if raw.count(b"{") + raw.count(b"[") <= max_depth:
        return given
    level: list[Any] = [given]
    for _ in range(max_depth):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return given
    raise BadRequest("the body nests too deep", f"over {max_depth}", max_depth)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def _inside(value: Any) -> Iterator[Any]:
    children = value.values() if isinstance(value, dict) else value
    return (child for child in children if isinstance(child, (dict, list)))


def _offer(given: Mapping[str, Any], kind: Kind, settings: ServingSettings) -> tuple[str, UpstreamSettings]:
    name = given.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("model: missing", param="model")
    upstream = settings.upstreams.get(name)
    if upstream is None:
        known = ", ".join(settings.upstreams)
        raise UnknownModel(f"model {name[:100]!r} isn't offered here", name[:100], known, "model")
    if kind not in upstream.kinds:
        kinds = ", ".join(upstream.kinds)
        raise UnknownModel(f"model {name} isn't offered for {kind}, only for {kinds}", kind, kinds, "model")
    return name, upstream


def _check_parameters(kind: Kind, given: Mapping[str, Any]) -> None:
    allowed = ALLOWED[kind]
    for key, value in given.items():
        if key in allowed:
            continue
        if key not in _FIXED:
            raise NotOffered(f"{key[:100]}: not offered by this gateway", param=key[:100])
        if json.dumps(value) not in map(json.dumps, _FIXED[key]):  # 1 == True, but not here
            _refuse_value(key, value)


def _refuse_value(key: str, value: Any) -> None:
    allowed = " or ".join(json.dumps(item) for item in _FIXED[key] if item is not None)
    raise NotOffered(f"{key}: given {str(value)[:100]}, must be {allowed}", str(value)[:100], allowed, key)


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{key}: must be true or false", param=key)
    return bool(value)


def _output(given: Mapping[str, Any], kind: Kind, upstream: UpstreamSettings) -> int:
    """The most tokens of the answer: as asked, or ours when nothing was asked."""
    names = ("max_completion_tokens", "max_tokens") if kind is Kind.CHAT else ("max_tokens",)
    asked = [(name, given[name]) for name in names if given.get(name) is not None]
    if len(asked) > 1 and asked[0][1] != asked[1][1]:
        raise BadRequest("max_tokens and max_completion_tokens differ: give one", param="max_tokens")
    if not asked:
        return upstream.default_max_tokens
    name, value = asked[0]
    if type(value) is not int or value < 1:
        raise BadRequest(f"{name}: given {value!r:.100}, must be a whole number from 1", value, "1..", name)
    if value > upstream.context_tokens:
        raise OverContext(
            f"{name}: given {value}, the model's context is {upstream.context_tokens} tokens", value,
            upstream.context_tokens, name,
        )  # fmt: skip
    if value > upstream.most_max_tokens:
        limit = upstream.most_max_tokens
        raise BadRequest(f"{name}: given {value}, must be at most {limit}", value, limit, name)
    return value


def _input(prompt: int, kind: Kind, given: Mapping[str, Any], upstream: UpstreamSettings) -> int:
    """Upper bound of the prompt's tokens: a byte-level tokeniser makes at most one token of a byte. Whatever
    it says, no more than the context is ever read.
    """
    if kind is Kind.CHAT:
        extras = [given[key] for key in _RENDERED if given.get(key) is not None]
        tools = sum(TOOL_TOKENS + TOOL_FACTOR * len(json.dumps(item).encode()) for item in extras)
        messages = len(given["messages"]) * MESSAGE_TOKENS
        return min(prompt + messages + tools + upstream.template_tokens, upstream.context_tokens)
    if kind is Kind.COMPLETIONS:
        return min(prompt + INPUT_TOKENS, upstream.context_tokens)
    inputs = given["input"]
    count = 1 if isinstance(inputs, str) or isinstance(inputs[0], int) else len(inputs)
    return min(prompt + count * INPUT_TOKENS, count * upstream.context_tokens)


_RENDERED: Final = ("tools", "chat_template_kwargs", "response_format")
"""Parameters that a template may write into the prompt."""


def _chat(given: Mapping[str, Any]) -> tuple[list[str], int]:
    """Texts of the messages, and bytes of what else they hold. Raises BadRequest."""
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: must be a list with at least one message", param="messages")
    texts: list[str] = []
    others = 0
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(f"messages[{number}]: must be an object with a role", param="messages")
        texts += _content(message.get("content"), number)
        rest = {key: value for key, value in message.items() if key not in _TURN}
        others += TOOL_FACTOR * (ROLE_BYTES + len(message["role"].encode("utf-8", "surrogatepass")))
        if rest:
            others += TOOL_FACTOR * len(json.dumps(rest).encode())
    if not any(texts) and not any(message.get("tool_calls") for message in messages):
        raise BadRequest("messages: all of them are empty", param="messages")
    return texts, others


_TURN: Final = frozenset({"role", "content"})


def _content(content: Any, number: int) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    where = f"messages[{number}].content"
    if not isinstance(content, list):
        raise BadRequest(f"{where}: must be a text or a list of text parts", param="messages")
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise NotOffered(f"{where}: only parts of type text are offered", param="messages")
    return [part["text"] for part in content]


def _completions(given: Mapping[str, Any]) -> tuple[list[str], int]:
    prompt = given.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return [prompt], 0
    if _is_tokens(prompt):
        return [], len(prompt)  # type: ignore[arg-type]  # a list, as was just found
    if isinstance(prompt, list) and len(prompt) > 1:
        raise NotOffered("prompt: one a call, given several", len(prompt), 1, "prompt")
    raise BadRequest("prompt: must be a text or a list of tokens, and not empty", param="prompt")


def _embeddings(given: Mapping[str, Any]) -> tuple[list[str], int]:
    inputs = given.get("input")
    if isinstance(inputs, str) and inputs:
        return [inputs], 0
    if _is_tokens(inputs):
        return [], len(inputs)  # type: ignore[arg-type]
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= MOST_INPUTS:
        raise BadRequest(f"input: must be a text, or a list of 1 to {MOST_INPUTS}", param="input")
    if all(isinstance(item, str) and item for item in inputs):
        return inputs, 0
    if all(_is_tokens(item) for item in inputs):
        return [], sum(map(len, inputs))
    raise BadRequest("input: must be texts or lists of tokens, none of them empty", param="input")


_PROMPTS: Final = {Kind.CHAT: _chat, Kind.COMPLETIONS: _completions, Kind.EMBEDDINGS: _embeddings}


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _is_greedy(given: Mapping[str, Any]) -> bool:
    """Whether each token is the likeliest one, so that the answer can be computed again."""
    temperature, top_k = given.get("temperature"), given.get("top_k")
    return (type(temperature) in (int, float) and temperature == 0) or (type(top_k) is int and top_k == 1)
