"""OpenTelemetry traces, if the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`). Without one,
nothing is imported and nothing is done.

The variables are OpenTelemetry's own, read by its SDK; settings of the node have no part in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from scrip.errors import ScripError

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Value = str | int | bool


class TracingProblem(ScripError):
    """Traces are asked for and can't be made."""


class Traces(Protocol):
    """What records spans; `oracle.otel.OtlpTraces` does."""

    def span(
        self, name: str, jobs: Sequence[bytes], attributes: Mapping[str, Value]
    ) -> AbstractContextManager[None]:
        """See `span` below."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


_traces: Traces | None = None


def configure(role: str, env: Mapping[str, str] | None = None) -> Callable[[], None]:
    """Begin to trace if the environment asks for it. Returns what ends it. Raises TracingProblem."""
    global _traces
    if not any((os.environ if env is None else env).get(name) for name in ENDPOINTS):
        return lambda: None
    try:
        from oracle.otel import OtlpTraces
    except ImportError as missing:
        raise TracingProblem(
            f"{ENDPOINTS[0]} is set, but {missing.name} isn't installed. Install scrip[oracle,otel], or "
            "unset it"
        ) from missing
    made = _traces = OtlpTraces(role)

    def end() -> None:
        global _traces
        _traces = None
        made.close()

    return end


@contextmanager
def span(name: str, *jobs: bytes, **attributes: Value) -> Iterator[None]:
    """A step of a job, or of several at once. An exception that leaves it is recorded with it."""
    if _traces is None:
        yield
        return
    with _traces.span(name, jobs, attributes):
        yield
