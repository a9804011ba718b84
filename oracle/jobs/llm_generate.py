"""`llm.generate`: one answer of a small language model through llama.cpp, metered in tokens.

The model's weights are data of a Python package that is located but never imported. Decoding is greedy
(temperature 0) with a fixed thread count, one sequence and no prompt cache, so the answer is a function of
the parameters for one build of the engine on one CPU architecture; across architectures rounding may
differ, and a verifier must not call that fraud.

Output: the answer, UTF-8. The tokens are the engine's own count; `retokenized_tokens` is how many tokens
the answer has when it is tokenised again (the engine counts the end mark too, so it is usually one less).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import secrets
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oracle.jobs.common import BadParams, Result, Unable, main
from oracle.jobs.params import SYSTEM_PROMPT, LlmParams, LlmSettings

_LOCAL_TIMEOUT_S = 30


def model_path(settings: LlmSettings) -> Path:
    """Where the model file is. Raises Unable if the package isn't installed or doesn't hold it."""
    spec = importlib.util.find_spec(settings.package)
    if spec is None or spec.origin is None:
        raise Unable(f"model {settings.model}: package {settings.package} isn't installed")
    path = Path(spec.origin).parent / settings.file
    if not path.is_file():
        raise Unable(f"model {settings.model}: package {settings.package} has no file {settings.file}")
    return path


def check_model(path: Path, settings: LlmSettings) -> None:
    """Raises Unable if the file isn't the one the catalogue names."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != settings.sha256:
        raise Unable(f"model {settings.model}: sha256 is {found}, must be {settings.sha256}")


class Engine:
    """llama.cpp in this process. Its HTTP side listens on the loopback only, behind a key that nobody else
    has.
    """

    def __init__(self, path: Path, settings: LlmSettings) -> None:
        try:
            xllamacpp = importlib.import_module("xllamacpp")
        except ImportError as problem:
            raise Unable(f"xllamacpp can't be loaded: {problem}") from problem
        wanted = xllamacpp.CommonParams()
        wanted.model.path = str(path)
        wanted.n_ctx = settings.context_tokens
        wanted.n_parallel = wanted.n_threads_http = 1
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = settings.threads
        wanted.n_gpu_layers = wanted.cache_ram_mib = wanted.n_ctx_checkpoints = 0
        wanted.cache_prompt = wanted.warmup = wanted.fit_params = wanted.ui = wanted.endpoint_slots = False
        # The fused attention kernel is left on or off by hardware otherwise, and it changes the rounding.
        wanted.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        wanted.verbosity = -1
        self._key = secrets.token_hex(16)
        wanted.api_keys = [self._key]
        self._server = xllamacpp.Server(wanted)

    def answer(self, params: LlmParams) -> dict[str, Any]:
        """The engine's reply, OpenAI's chat format. Raises BadParams for a prompt beyond the context."""
        reply: dict[str, Any] = self._server.handle_chat_completions(
            {
                "messages": [
                    {"role": "system", "content": SYSTEM_PROMPT},
                    {"role": "user", "content": params.prompt()},
                ],
                "max_tokens": params.max_tokens,
                "temperature": 0,
                "seed": 0,
                "cache_prompt": False,
            }
        )
        error = reply.get("error")
        if error is not None and error.get("type") == "exceed_context_size_error":
            given, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
            raise BadParams(f"question and context: given {given} tokens, must be at most {limit}")
        if error is not None:
            raise Unable(f"engine: {error.get('message')}")
        return reply

    def count_tokens(self, text: str) -> int:
        """How many tokens the text has. Raises Unable if the engine doesn't say."""
        address = urlsplit(self._server.listening_address)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=_LOCAL_TIMEOUT_S)
        try:
            body = json.dumps({"content": text}).encode()
            connection.request("POST", "/tokenize", body, {"Authorization": f"Bearer {self._key}"})
            return len(json.loads(connection.getresponse().read())["tokens"])
        except (OSError, HTTPException, ValueError, KeyError) as problem:
            raise Unable(f"engine can't tokenise: {problem!r}") from problem
        finally:
            connection.close()


def generate(params: LlmParams, settings: LlmSettings) -> Result:
    """The answer and what it took."""
    path = model_path(settings)
    check_model(path, settings)
    engine = Engine(path, settings)
    reply = engine.answer(params)
    choice, usage = reply["choices"][0], reply["usage"]
    text: str = choice["message"]["content"] or ""
    counts: dict[str, int | str] = {
        "input_tokens": usage["prompt_tokens"],
        "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "output_tokens": usage["completion_tokens"],
        "retokenized_tokens": engine.count_tokens(text) if text else 0,
        "finish_reason": choice["finish_reason"],
        "threads": settings.threads,
        "model": settings.model,
        "model_sha256": settings.sha256,
    }
    return Result(text.encode(), counts)


if __name__ == "__main__":
    sys.exit(main(LlmParams, LlmSettings, generate))
