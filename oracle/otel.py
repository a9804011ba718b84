"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP. Imported only where traces are asked for.

A job has one trace: its id is the first 16 bytes of the job's, so that what several processes do about a job,
before and after a restart, meets in one place and can be found by the job's id.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from oracle.logging import clean

SERVICE: Final = "scrip-oracle"
LAST_SPANS_S: Final = 2.0
"""How long a stopping node tries to hand over its last spans."""


class OtlpTraces:
    """See `oracle.tracing.Traces`. OTEL_* variables say where to, with what headers, and how many."""

    def __init__(self, role: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": SERVICE, "scrip.role": role}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("scrip.oracle")

    @contextmanager
    def span(
        self, name: str, jobs: Sequence[bytes], attributes: Mapping[str, str | int | bool]
    ) -> Iterator[None]:
        """A span in the trace of the first job, linked to the others'; inside another span, its child."""
        inside = trace.get_current_span().get_span_context().is_valid
        parent = _context(jobs[0]) if jobs and not inside else None
        with self._tracer.start_as_current_span(
            name,
            parent,
            links=[Link(_job_context(job)) for job in jobs[1:]],
            attributes={"scrip.job": ["0x" + job.hex() for job in jobs], **attributes},
            record_exception=False,  # its traceback may hold more than a collector should see
            set_status_on_exception=False,
        ) as current:
            try:
                yield
            except Exception as error:
                said = clean(f"{type(error).__name__}: {error}")
                current.set_status(Status(StatusCode.ERROR, said[:500]))
                raise

    def close(self) -> None:
        """Send what is left, for a moment at most: a collector that is away mustn't hold up the node."""
        ending = threading.Thread(target=self._provider.shutdown, name="scrip-traces", daemon=True)
        ending.start()
        ending.join(LAST_SPANS_S)


def _job_context(job: bytes) -> SpanContext:
    return SpanContext(
        trace_id=int.from_bytes(job[:16], "big"),
        span_id=int.from_bytes(job[16:24], "big"),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _context(job: bytes) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(_job_context(job)))
