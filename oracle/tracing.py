"""OpenTelemetry traces, if the environment names a collector; see `oracle.otlp`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from oracle.otlp import Export

Value = str | int | bool


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


def _otlp(role: str) -> Traces:
    from oracle.otel import OtlpTraces

    return OtlpTraces(role)


_export = Export("TRACES", _otlp)
ENDPOINTS = _export.endpoints
configure = _export.configure


@contextmanager
def span(name: str, *jobs: bytes, **attributes: Value) -> Iterator[None]:
    """A step of a job, or of several at once. An exception that leaves it is recorded with it."""
    if (traces := _export.now) is None:
        yield
        return
    with traces.span(name, jobs, attributes):
        yield
