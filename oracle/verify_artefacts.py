"""A watcher's checks of content kept or moved: hash, bytes and time against each other. Pure.

The evidence holds the content itself, so what was moved, and what the proofs of keeping were made of, is
certain. That it lay there all the time is the provider's word, bounded by the time between the evidence's
first and last sample, and by the moments at which the proofs were due.
"""

from __future__ import annotations

from typing import Final

from oracle.attribution import Usage
from oracle.jobs import keep, transfer
from oracle.jobs.params import KeepParams, Params, TransferParams
from scrip.errors import Refused
from scrip.evidence import Bundle, Check

KEPT_SLACK_MS: Final = 5_000
"""How much longer than asked for content may have been kept: until the end edge was read."""


def check_artefact(bundle: Bundle, usage: Usage, params: Params) -> tuple[Check, ...]:
    """Checks of a completed job that keeps or moves content; none for another. Raises Refused."""
    if isinstance(params, TransferParams):
        return _check_moved(bundle, usage, params)
    if isinstance(params, KeepParams):
        return _check_kept(bundle, usage, params)
    return ()


def _check_moved(bundle: Bundle, usage: Usage, params: TransferParams) -> tuple[Check, ...]:
    try:
        transfer.check(params, bundle.output)
    except ValueError as problem:
        raise Refused(str(problem), "output.content") from problem
    if usage.moved_bytes != params.size:
        raise Refused(f"{usage.moved_bytes} bytes moved, the artefact has {params.size}", "bounds.moved")
    return (Check("output.content", f"sha256 {params.sha256}"), Check("bounds.moved", f"{params.size} bytes"))


def _check_kept(bundle: Bundle, usage: Usage, params: KeepParams) -> tuple[Check, ...]:
    try:
        last_ms = keep.check(params, bundle.output)
    except ValueError as problem:
        raise Refused(str(problem), "output.content") from problem
    span_ms = (bundle.samples[-1].mono_ns - bundle.samples[0].mono_ns) // 1_000_000
    if last_ms > span_ms:
        raise Refused(f"a proof after {last_ms} ms, the evidence spans {span_ms} ms", "bounds.kept")
    most_ms = min(params.seconds * 1000 + KEPT_SLACK_MS, span_ms)
    kept, most = usage.stored_byte_ns or 0, params.size * most_ms * 1_000_000
    if kept > most:
        raise Refused(
            f"{kept} byte-nanoseconds, {params.size} bytes for {most_ms} ms are {most}", "bounds.kept"
        )
    return (
        Check("output.content", f"{params.proofs} proofs of sha256 {params.sha256}"),
        Check("bounds.kept", f"{kept} of at most {most} byte-nanoseconds"),
    )
