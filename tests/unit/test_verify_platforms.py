"""Jobs run again on another processor: another output there is no fraud where rounding may differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle.catalogue import Template
from oracle.host import label_of, named_platform, platform_label
from oracle.jobs.params import Params
from oracle.verify import CannotJudge, Rerun, VerifyRequest, verify_request
from scrip.errors import Refused
from scrip.evidence import CLOSING_METRICS, sealed_sku
from scrip.samples import platform_of
from tests.unit.evidence_factory import OUTPUT
from tests.unit.verify_factory import PLATFORM, hashes, honest, tokens

T, H = tokens(), hashes()

ELSEWHERE = "riscv64"


def on_platform(request: VerifyRequest, label: str) -> VerifyRequest:
    """The same job, run on a processor with this label."""
    recorded = tuple(s for s in request.bundle.samples if s.metric not in CLOSING_METRICS)
    parts = (named_platform(recorded, label), request.bundle.spec, request.bundle.output)
    return honest(request.facts.class_terms, *parts, sealed_sku(request.bundle.samples))  # type: ignore[arg-type]


def rounds_otherwise(_: bytes, template: Template, params: Params) -> Rerun:
    return Rerun("ok", b"rounded otherwise", 12, 9, PLATFORM)


def test_verify__another_output_on_another_platform__is_not_judged() -> None:
    request = replace(on_platform(T, ELSEWHERE), reexecute=rounds_otherwise)
    with pytest.raises(CannotJudge, match=ELSEWHERE):
        verify_request(request)


def test_verify__other_tokens_on_another_platform__are_not_judged() -> None:
    def counts(*_: object) -> Rerun:
        return Rerun("ok", OUTPUT, 12, 8, PLATFORM)

    with pytest.raises(CannotJudge):
        verify_request(replace(on_platform(T, ELSEWHERE), reexecute=counts))


def test_verify__same_output_on_another_platform__passes() -> None:
    assert verify_request(on_platform(T, ELSEWHERE)).checks[-1].name == "output.recompute"


@pytest.mark.parametrize("label", ["", PLATFORM])
def test_verify__another_output_on_the_same_or_an_unnamed_platform__refused(label: str) -> None:
    request = on_platform(T, label) if label else T
    with pytest.raises(Refused) as caught:
        verify_request(replace(request, reexecute=rounds_otherwise))
    assert caught.value.check == "output.recompute"


def test_verify__another_output_of_a_job_that_is_the_same_everywhere__refused() -> None:
    request = replace(on_platform(H, ELSEWHERE), reexecute=rounds_otherwise)
    with pytest.raises(Refused) as caught:
        verify_request(request)
    assert caught.value.check == "output.recompute"


# --- names of platforms


def test_named_platform__is_one_sample_more_at_the_end() -> None:
    named = named_platform(T.bundle.samples, ELSEWHERE)
    assert (len(named), platform_of(named)) == (len(T.bundle.samples) + 1, ELSEWHERE)
    assert named[-1].seq == len(T.bundle.samples)
    assert platform_of(T.bundle.samples) == ""
    assert named_platform((), ELSEWHERE) == ()


def test_label__order_and_other_flags__do_not_matter() -> None:
    assert (
        label_of("x86_64", "sse fma avx2 avx")
        == label_of("x86_64", "avx avx2 fma ht")
        == "x86_64 avx avx2 fma"
    )
    assert label_of("x86_64", "avx512f avx2") != label_of("x86_64", "avx2")
    assert label_of("", "") == "unknown"


def test_label__of_this_machine__fits_a_sample() -> None:
    assert named_platform(T.bundle.samples, platform_label())[-1].device == platform_label()
