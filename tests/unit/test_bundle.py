"""A bundle's JSON: one form only, hostile input refused, sizes limited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scrip.errors import BadInput, EvidenceInvalid
from scrip.evidence import Bundle
from tests.unit.evidence_factory import MARKET, make_bundle


def test_bundle__encode_decode__same_bundle_and_bytes() -> None:
    bundle = make_bundle()
    assert Bundle.decode(bundle.encode()) == bundle
    assert Bundle.decode(bundle.encode()).encode() == bundle.encode()


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        *way, last = path
        target: Any = data
        for step in way:
            target = target[step]
        target[last] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (_set("version", to=2), "bundle.version"),
        (_set("version", to=True), "bundle.version"),
        (_set("surprise", to=1), "bundle.format"),
        (lambda data: data.pop("nonce"), "bundle.format"),
        (_set("chainId", to=31337), "bundle.format"),
        (_set("chainId", to="031337"), "bundle.format"),
        (_set("chainId", to="9" * 79), "bundle.format"),
        (_set("nonce", to=str(2**96)), "bundle.format"),
        (_set("nonce", to="-1"), "bundle.format"),
        (_set("market", to=MARKET.lower()), "bundle.format"),
        (_set("market", to="0x00"), "bundle.format"),
        (_set("jobId", to="0x" + "AB" * 32), "bundle.format"),
        (_set("jobId", to="0x00"), "bundle.format"),
        (_set("terms", "maxUnits", to=5), "bundle.format"),
        (_set("terms", "extra", to=5), "bundle.format"),
        (_set("spec", "params", to=[1]), "bundle.format"),
        (_set("spec", "params", "temperature", to=0.5), "bundle.format"),
        (_set("samples", to={}), "bundle.format"),
        (_set("samples", to=[]), "bundle.format"),
        (_set("samples", 0, "value", to=1.0), "evidence.sample"),
        (_set("samples", 0, "value", to=True), "evidence.sample"),
        (_set("samples", 0, "note", to="x"), "evidence.sample"),
        (_set("output", to="@@"), "bundle.format"),
        (_set("output", to="QQ=="[:3]), "bundle.format"),
        (_set("output", to="QR=="), "bundle.format"),  # bits that decoding would drop
        (_set("output", to=7), "bundle.format"),
        (_set("result", "exitCode", to=1.0), "bundle.format"),
        (_set("receipt", "outcome", to="3"), "bundle.format"),
        (_set("receipt", "units", to="09"), "bundle.format"),
        (_set("simulated", to=0), "bundle.format"),
        (_set("attempt", to="1"), "bundle.format"),
        (_set("attempt", to=0), "bundle.format"),
        (_set("attempt", to=True), "bundle.format"),
    ],
)
def test_bundle_from_json__malformed__refused(edit: Callable[[dict[str, Any]], None], check: str) -> None:
    data = make_bundle().to_json()
    edit(data)
    with pytest.raises(EvidenceInvalid) as error:
        Bundle.from_json(data)
    assert error.value.check == check


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff", b"[1", b"null", b"[" * 200_000, b'{"a":1,"a":2}', b'{"a":NaN}', b"9" * 5000],
)  # fmt: skip
def test_bundle_decode__hostile_bytes__refused(raw: bytes) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        Bundle.decode(raw)
    assert error.value.check == "bundle.format"


def test_bundle__over_the_limits__refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle()
    raw = bundle.encode()
    monkeypatch.setattr("scrip.bundle.MAX_BUNDLE_BYTES", len(raw) - 1)
    with pytest.raises(EvidenceInvalid, match="at most"):
        Bundle.decode(raw)
    with pytest.raises(BadInput, match="at most"):
        bundle.encode()
    monkeypatch.setattr("scrip.bundle.MAX_SAMPLES", 3)
    with pytest.raises(BadInput, match=r"bundle\.samples"):
        make_bundle()
    with pytest.raises(EvidenceInvalid, match=r"bundle\.samples"):
        Bundle.from_json(bundle.to_json())
    monkeypatch.setattr("scrip.bundle.MAX_SAMPLES", 100)
    monkeypatch.setattr("scrip.bundle.MAX_OUTPUT_BYTES", 3)
    with pytest.raises(BadInput, match=r"bundle\.output"):
        make_bundle()
    with pytest.raises(EvidenceInvalid, match=r"bundle\.output"):
        Bundle.from_json(bundle.to_json())
