"""A watcher's checks of content kept or moved: what may be forged, and by which check it is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from oracle.attribution import Usage, attribute
from oracle.jobs import keep
from oracle.jobs.params import KeepParams
from oracle.receipt import metered_units
from oracle.verify import VerifyRequest, verify_request
from oracle.verify_artefacts import check_artefact
from scrip.errors import Refused
from scrip.evidence import Sample
from scrip.spec import JobSpec
from scrip.types import Resource, sku_id
from tests.unit.evidence_factory import make_class, rows
from tests.unit.verify_factory import forge, honest, resign

CONTENT = bytes(range(256)) * 40
ARTEFACT = {
    "url": "https://data.example.org/a", "sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)
}  # fmt: skip
MOVE = JobSpec("transfer", ARTEFACT)
KEEP = JobSpec("keep", {**ARTEFACT, "seconds": 2, "proofs": 2, "seed": "0x" + "5e" * 32})
RATE = 10**12


def samples(source: str, metric: str, *values: tuple[int, str, int]) -> tuple[Sample, ...]:
    """A lease of 2900 ms with readings of one metric, (ms, edge, value) each."""
    device = "content" if source == "storage" else "artefact"
    readings = [(at, edge, metric, value, source, device) for at, edge, value in values]
    return rows(
        (0, "start", "lease_ms", 0, "lease", "cpu"),
        *readings[:-1],
        (2_900, "end", "lease_ms", 2_900, "lease", "cpu"),
        readings[-1],
    )


def moved_samples(size: int = len(CONTENT)) -> tuple[Sample, ...]:
    return samples("network", "moved_bytes", (0, "start", 0), (1_000, "tick", 9), (2_900, "end", size))


def kept_samples(size: int = len(CONTENT)) -> tuple[Sample, ...]:
    return samples("storage", "stored_bytes", (0, "start", 0), (500, "tick", size), (2_900, "end", size))


@cache
def moved() -> VerifyRequest:
    terms = make_class(Resource.GB_TRANSFER, 9, sku=sku_id("line"), max_rate=RATE)
    return honest(terms, moved_samples(), MOVE, CONTENT, "line")


def kept_output(late_ms: int = 1, content: bytes = CONTENT) -> bytes:
    params = KeepParams(**KEEP.params)
    proofs = [keep.Proof(at + late_ms, digest) for at, digest in keep.chain(params, lambda _: content)]
    return keep.encode(proofs, content)


@cache
def kept() -> VerifyRequest:
    terms = make_class(Resource.GB_HOUR, 12, sku=sku_id("disk"), max_rate=RATE)
    return honest(terms, kept_samples(), KEEP, kept_output(), "disk")


def refusal(request: VerifyRequest) -> str:
    with pytest.raises(Refused) as error:
        verify_request(request)
    return error.value.check


def resized(request: VerifyRequest, metric: str, values: dict[int, int]) -> VerifyRequest:
    """The forger rewrites a metric by time, and charges what follows from that."""
    bundle = request.bundle
    changed = tuple(
        replace(s, value=values.get(s.mono_ns // 1_000_000, s.value)) if s.metric == metric else s
        for s in bundle.samples
    )
    units = metered_units(attribute(bundle.job_id, changed), request.facts.class_terms)
    return forge(request, changed, units=units)


# FORGED


@pytest.mark.parametrize(
    ("request_", "check"),
    [
        (forge(moved(), output=CONTENT[:-1] + b"x"), "output.content"),
        (forge(moved(), output=b""), "output.content"),
        (resized(moved(), "moved_bytes", {2_900: 10 * len(CONTENT)}), "bounds.moved"),
        (resign(moved(), units=moved().receipt.units + 1), "usage.units"),
        (forge(kept(), output=kept_output(content=CONTENT[:-1] + b"x")), "output.content"),
        (forge(kept(), output=CONTENT), "output.content"),
        (forge(kept(), output=kept_output(late_ms=20_000)), "output.content"),
        (forge(kept(), output=kept_output(late_ms=2_800)), "bounds.kept"),
        (resized(kept(), "stored_bytes", dict.fromkeys((0, 500, 2_900), 3 * len(CONTENT))), "bounds.kept"),
        (resign(kept(), units=kept().receipt.units + 1), "usage.units"),
    ],
    ids=[
        "moved another content", "moved nothing", "bytes inflated", "units inflated", "kept another content",
        "no proofs", "proofs late", "proofs after the end", "bytes kept inflated", "byte-time inflated",
    ],
)  # fmt: skip
def test_verify__forged__refused_by(request_: VerifyRequest, check: str) -> None:
    assert refusal(request_) == check


def test_verify__kept_far_longer_than_asked__refused() -> None:
    """Hours of evidence for a job that asked for two seconds."""
    hours = 2 * 3_600_000
    long = tuple(
        replace(s, at_ms=s.at_ms - 2_900 + hours, mono_ns=hours * 1_000_000)
        if s.mono_ns >= 2_900_000_000
        else s
        for s in kept().bundle.samples
    )
    long = tuple(replace(s, value=hours) if (s.metric, s.edge) == ("lease_ms", "end") else s for s in long)
    usage = attribute(kept().bundle.job_id, long)
    with pytest.raises(Refused) as error:
        check_artefact(replace(kept().bundle, samples=long), usage, KeepParams(**KEEP.params))
    assert error.value.check == "bounds.kept"


# HONEST


def test_verify__honest_transfer__charges_the_bytes() -> None:
    checks = {check.name: check.detail for check in verify_request(moved()).checks}
    assert checks["bounds.moved"] == f"{len(CONTENT)} bytes"
    assert moved().receipt.units == len(CONTENT)


def test_verify__honest_keeping__charges_the_byte_time() -> None:
    checks = {check.name: check.detail for check in verify_request(kept()).checks}
    assert checks["output.content"].startswith("2 proofs")
    assert kept().receipt.units == len(CONTENT) * 2_400 * 10**12 // (10**9 * 3_600_000)


@pytest.mark.parametrize(
    ("resource", "usage", "decimals", "units"),
    [
        (Resource.GB_HOUR, {"stored_byte_ns": 10**9 * 3_600 * 10**9}, 0, 1),
        (Resource.GB_HOUR, {"stored_byte_ns": 10**9 * 3_600 * 10**9 - 1}, 0, 0),
        (Resource.GB_HOUR, {"stored_byte_ns": 2**30 * 3_600 * 10**9}, 9, 2**30),
        (Resource.GB_TRANSFER, {"moved_bytes": 10**9}, 6, 10**6),
        (Resource.GB_TRANSFER, {"moved_bytes": 999}, 6, 0),
        (Resource.GB_TRANSFER, {"moved_bytes": 123}, 9, 123),
    ],
)
def test_units__a_gb_is_ten_to_the_ninth_and_rounding_is_down(
    resource: Resource, usage: dict[str, Any], decimals: int, units: int
) -> None:
    nothing = Usage(0, 0, None, None, None, None, "none", simulated=False)
    assert metered_units(replace(nothing, **usage), make_class(resource, decimals)) == units
