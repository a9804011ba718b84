"""Settings of what the gateway serves (docs/gateway.md): inference servers, and how much of them at once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from oracle.settings_fields import Count, MaybePath, Section, Url, parsed

Model = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Tokens = Annotated[int, Field(ge=1, le=1 << 24)]
Wait = Annotated[int, Field(ge=1, le=3_600)]


class EngineName(StrEnum):
    """Inference servers that we know how to count with."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"
    SGLANG = "sglang"


class Kind(StrEnum):
    """What can be asked of a model. The value is the end of the path."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class UpstreamSettings(Section):
    """The server of one model. `url` has no /v1; `model` is its name there, by default ours.

    `context_tokens` is what one call may have, prompt and answer together: a server with parallel slots may
    share its context among them. `template_tokens` bounds what the chat template adds to a prompt, its
    default system message included. `calls` run at once, more wait `queue_s`. The first token may take
    `first_token_s`, each further one `token_s`, a call `total_s`. `count_input` counts every prompt by the
    server's tokeniser as well, while the answer is made.
    """

    url: Url
    engine: EngineName
    model: str = ""
    kinds: tuple[Kind, ...] = (Kind.CHAT, Kind.COMPLETIONS)
    context_tokens: Tokens
    template_tokens: Annotated[int, Field(ge=0, le=65_536)] = 256
    default_max_tokens: Tokens = 256
    most_max_tokens: Tokens = 4_096
    calls: Count = 8
    queue_s: Wait = 30
    connect_s: Wait = 5
    first_token_s: Wait = 120
    token_s: Wait = 30
    total_s: Wait = 900
    count_input: bool = True
    api_key_file: MaybePath = None

    @model_validator(mode="after")
    def _tokens_fit(self) -> Self:
        if self.default_max_tokens > self.most_max_tokens:
            raise ValueError("default_max_tokens must be at most most_max_tokens")
        if self.most_max_tokens > self.context_tokens:
            raise ValueError("most_max_tokens must be at most context_tokens")
        return self


class ServingSettings(Section):
    """Inference sold by the call. `upstreams` are the servers, by the name their model is sold under; without
    any nothing is served.

    A request may have `max_body_bytes` and nest `max_depth` deep, an answer `max_answer_bytes`. `calls` are
    served at once, over all models. A client that was refused `refusals_per_minute` times within a minute
    isn't heard.
    """

    upstreams: Annotated[dict[Model, UpstreamSettings], BeforeValidator(parsed)] = Field(default_factory=dict)
    max_body_bytes: Annotated[int, Field(ge=1_024, le=64 * 2**20)] = 2**20
    max_answer_bytes: Annotated[int, Field(ge=1_024, le=256 * 2**20)] = 16 * 2**20
    max_depth: Annotated[int, Field(ge=4, le=200)] = 32
    calls: Count = 256
    refusals_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
