"""A llama.cpp server with the small model of `llm.generate`, as a process: for tests, the demo and benches.

with running(slots=4) as server:       # ready when this returns; ended at the end
    server.url                         # http://127.0.0.1:<port>

python -m demo.llm_server --slots 4    # the same, until interrupted; prints its URL
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from demo.anvil import NO_TLS
from demo.processes import free_ports
from demo.stack_node import Node, NodeFailed
from oracle.catalogue import Catalogue
from oracle.jobs.llm_generate import check_model, model_path
from oracle.jobs.params import LlmSettings
from scrip.errors import ScripError

HOST: Final = "127.0.0.1"
MODEL: Final = "smollm2-135m"
"""Name that the model is sold under."""
CONTEXT_TOKENS: Final = 2_048
"""Context of one call; all slots together have that many times their number."""
HTTP_THREADS: Final = 8
"""Beside one for each slot: a stream holds its thread, and tokenising must not wait for it."""
READY_SECONDS: Final = 60.0


class LlmServer(Node):
    """The server as a process. Its `url` has no /v1."""

    def is_ready(self) -> bool:
        """Whether the model is loaded."""
        try:
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False, verify=NO_TLS).is_success
        except httpx.HTTPError:
            return False


def server(log: Path, *, slots: int = 4, threads: int = 1, port: int | None = None) -> LlmServer:
    """A server that isn't started yet. `threads` compute; more than there are idle cores is slower."""
    chosen = free_ports(1)[0] if port is None else port
    command = [sys.executable, "-m", "demo.llm_server", "--port", str(chosen)]
    command += ["--slots", str(slots), "--threads", str(threads)]
    return LlmServer("llama.cpp", f"http://{HOST}:{chosen}", command, log)


@contextlib.contextmanager
def running(*, slots: int = 4, threads: int = 1) -> Iterator[LlmServer]:
    """A server that is ready, until the end. Raises NodeFailed."""
    with tempfile.TemporaryDirectory(prefix="scrip-llm-") as folder:
        made = server(Path(folder) / "llama.log", slots=slots, threads=threads)
        try:
            made.start()
            made.wait_ready(READY_SECONDS)
            yield made
        finally:
            made.stop()


def upstream(url: str, *, slots: int = 4) -> dict[str, Any]:
    """Settings of this server in `gateway.upstreams`, under the name `MODEL`."""
    return {
        "url": url,
        "engine": "llama.cpp",
        "context_tokens": CONTEXT_TOKENS,
        "most_max_tokens": CONTEXT_TOKENS // 2,
        "default_max_tokens": 128,
        "calls": slots,
    }


def serve(port: int, slots: int, threads: int) -> Any:
    """llama.cpp in this process, listening. Raises Unable without the engine or its model."""
    chosen = Catalogue.load().template("llm.generate").settings
    if not isinstance(chosen, LlmSettings):
        raise NodeFailed("the catalogue's llm.generate names no model")
    path = model_path(chosen)
    check_model(path, chosen)
    xllamacpp = importlib.import_module("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path, wanted.hostnames, wanted.port = str(path), [HOST], port
    wanted.model_alias = {MODEL}
    wanted.n_parallel, wanted.n_ctx = slots, slots * CONTEXT_TOKENS
    wanted.n_threads_http = slots + HTTP_THREADS
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
    wanted.n_gpu_layers = wanted.cache_ram_mib = wanted.n_ctx_checkpoints = 0
    wanted.warmup = wanted.fit_params = wanted.ui = wanted.endpoint_slots = False
    wanted.endpoint_metrics, wanted.verbosity = True, -1
    return xllamacpp.Server(wanted)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.llm_server", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--slots", type=int, default=4, help="calls at once")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    given = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        engine = serve(given.port, given.slots, given.threads)
    except ScripError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(engine.listening_address, flush=True)
    while not ended.is_set():
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
