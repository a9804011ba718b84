"""What differs between inference servers: what to ask for so that tokens can be counted as they come, and how
they tokenise.

llama.cpp sends one event for each token and says while it reads a prompt how long that is; vLLM and SGLang
may put several tokens into one event, and repeat the usage so far in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from oracle.settings_upstreams import EngineName, Kind

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a server: path and body."""

    path: str
    body: Json


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of server. `added` are fields of its events that we asked for and the client did not."""

    name: EngineName
    added: tuple[str, ...] = ()

    def extend(self, body: Json) -> None:
        """Ask for what we count by."""
        if self.name is EngineName.LLAMA_CPP:
            body["return_progress"] = True
        else:
            body["stream_options"]["continuous_usage_stats"] = True

    def template(self, kind: Kind, body: Mapping[str, Any]) -> Ask | None:
        """The request for the prompt that a chat becomes, where tokenising takes text alone."""
        if self.name is not EngineName.LLAMA_CPP or kind is not Kind.CHAT:
            return None
        return Ask("/apply-template", {key: body[key] for key in _TEMPLATE if key in body})

    def tokenise_prompt(self, kind: Kind, body: Mapping[str, Any], rendered: str | None) -> Ask | None:
        """The request for the tokens of a call's prompt; None where the server can't say."""
        if kind is Kind.EMBEDDINGS:
            return None
        if kind is Kind.CHAT and rendered is None:
            if self.name is not EngineName.VLLM:
                return None
            asked = {key: body[key] for key in _TEMPLATE if key in body}
            return Ask("/tokenize", {"model": body["model"], **asked, "add_generation_prompt": True})
        text = rendered if rendered is not None else body["prompt"]
        if isinstance(text, list) and len(text) == 1:
            text = text[0]
        return self.tokenise(text, body["model"], special=True) if isinstance(text, str) else None

    def tokenise(self, text: str, model: str, *, special: bool) -> Ask:
        """The request for the tokens of a text: of a prompt (`special`), or of an answer."""
        if self.name is EngineName.LLAMA_CPP:
            return Ask("/tokenize", {"content": text, "add_special": special, "parse_special": special})
        return Ask("/tokenize", {"model": model, "prompt": text, "add_special_tokens": special})


_TEMPLATE: Final = ("messages", "tools", "tool_choice", "chat_template_kwargs")

ENGINES: Final[Mapping[EngineName, Engine]] = {
    EngineName.LLAMA_CPP: Engine(EngineName.LLAMA_CPP, ("prompt_progress",)),
    EngineName.VLLM: Engine(EngineName.VLLM),
    EngineName.SGLANG: Engine(EngineName.SGLANG),
}


def token_count(reply: Mapping[str, Any]) -> int | None:
    """Tokens of a reply to `tokenise`. None if it holds no count."""
    count, tokens = reply.get("count"), reply.get("tokens")
    if type(count) is int and count >= 0:
        return count
    return len(tokens) if isinstance(tokens, list) else None
