"""Which provider, which parameters, how many units: refusals first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scrip.cli import choosing
from scrip.errors import BadInput, NotFound, Refused
from scrip.provider_client import Offer, ProviderUnreachable
from scrip.types import ProviderInfo, Resource
from tests.unit.cli_fakes import DETAILS, OFFER, FakeView, class_info, provider_info

LLM = DETAILS["llm.generate"]
ONE, TWO = (f"0x{number:040x}" for number in (1, 2))


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Offer]:
    """What providers say, by address; the others can't be reached."""
    found: dict[str, Offer] = {}

    def discover(provider: ProviderInfo) -> Offer:
        if provider.address not in found:
            raise ProviderUnreachable(provider.uri, "silence")
        return found[provider.address]

    monkeypatch.setattr("scrip.provider_client.discover", discover)
    return found


def pick(view: FakeView, wanted: str | None = None) -> choosing.Candidate:
    chosen: Any = view
    return choosing.pick(chosen, class_info(), "llm.generate", wanted)


def test_pick__nobody_may_serve__not_found(offers: dict[str, Offer]) -> None:
    with pytest.raises(NotFound, match="provider for class 1"):
        pick(FakeView())


def test_pick__wanted_one_may_not_serve__refused(offers: dict[str, Offer]) -> None:
    with pytest.raises(Refused, match="doesn't serve class 1"):
        pick(FakeView(registered=[provider_info(ONE)], serving=False), ONE)


def test_pick__nobody_offers_it__refused_with_everyones_reason(offers: dict[str, Offer]) -> None:
    offers[ONE] = replace(OFFER, templates=("hash.chain",))
    with pytest.raises(Refused, match=r"offers hash.chain, not llm.generate; .*silence"):
        pick(FakeView(registered=[provider_info(ONE), provider_info(TWO)]))


def test_pick__two_offer_it__more_stake_wins_unless_simulated(offers: dict[str, Offer]) -> None:
    view = FakeView(registered=[provider_info(ONE, 1), provider_info(TWO, 2)])
    offers |= {ONE: OFFER, TWO: OFFER}
    assert pick(view).provider.address == TWO
    offers[TWO] = replace(OFFER, simulated=True)
    assert pick(view).provider.address == ONE
    assert pick(view, TWO).provider.address == TWO


def given(*pairs: str, files: tuple[str, ...] = (), whole: Path | None = None) -> dict[str, Any]:
    return choosing.parameters(LLM, pairs, files, whole)


@pytest.mark.parametrize("pair", ["question", "=x"])
def test_parameters__no_name_or_value__refused(pair: str) -> None:
    with pytest.raises(BadInput, match="name=value"):
        given(pair)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"{", "a JSON file"), (b"[1]", "a JSON object"), (b"\xff", "in UTF-8"), (b"[" * 9_000, "a JSON file")],
    ids=["not JSON", "not an object", "not text", "too deep"],
)
def test_parameters__bad_file__refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=problem):
        given(whole=path)


def test_parameters__missing_or_huge_file__refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        given(files=(f"context={tmp_path / 'none'}",))
    path = tmp_path / "big"
    path.write_bytes(b"x" * (choosing.MAX_FILE_BYTES + 1))
    with pytest.raises(BadInput, match="at most 1048576 bytes"):
        given(files=(f"context={path}",))


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("question=42", "42"),  # the schema says text
        ("question=a=b", "a=b"),
        ("max_tokens=42", 42),
        ("max_tokens=many", "many"),  # the provider refuses it with its own words
        ("other=true", True),
        ("other=1.5", "1.5"),  # specs hold no floats
        ("other=NaN", "NaN"),
        ("other=[1,2]", [1, 2]),
        ("other=", ""),
    ],
)
def test_parameters__value__typed_by_the_schema_or_as_json(pair: str, value: object) -> None:
    found = given(pair)
    assert list(found.values()) == [value]
    assert type(next(iter(found.values()))) is type(value)


def test_parameters__all_sources__later_ones_win(tmp_path: Path) -> None:
    whole, text = tmp_path / "p.json", tmp_path / "t.txt"
    whole.write_text('{"question": "old", "max_tokens": 5, "context": "old"}')
    text.write_text("new context")
    assert given("question=new", files=(f"context={text}",), whole=whole) == {
        "question": "new",
        "max_tokens": 5,
        "context": "new context",
    }


@pytest.mark.parametrize(
    ("resource", "details", "params"),
    [
        (Resource.INPUT_TOKEN, LLM, {"max_tokens": 5}),
        (Resource.OUTPUT_TOKEN, {}, {}),
        (Resource.OUTPUT_TOKEN, LLM, {"max_tokens": "many"}),
        (Resource.OUTPUT_TOKEN, LLM, {"max_tokens": 0}),
        (Resource.CPU_SECOND, {"seconds": "60"}, {}),
        (Resource.GB_HOUR, {}, {"size": 5}),
        (Resource.GB_HOUR, {}, {"size": 5, "seconds": "9"}),
        (Resource.GB_TRANSFER, {}, {"size": 0}),
        (Resource.GPU_SECOND, {"params": "nonsense"}, {}),
    ],
)
def test_default_units__need_not_known__asks_for_max(
    resource: Resource, details: Any, params: dict[str, Any]
) -> None:
    with pytest.raises(BadInput, match="--max"):
        choosing.default_units(class_info(resource=resource), details, params, 1)


@pytest.mark.parametrize(
    ("resource", "decimals", "params", "width", "units"),
    [
        (Resource.OUTPUT_TOKEN, 0, {"max_tokens": 5}, 1, 5),
        (Resource.OUTPUT_TOKEN, 0, {}, 1, 64),
        (Resource.CPU_SECOND, 3, {}, 1, 180_000),
        (Resource.GPU_SECOND, 3, {}, 2, 360_000),
        (Resource.GB_TRANSFER, 9, {"size": 1_024_000}, 1, 1_024_000),
        (Resource.GB_TRANSFER, 3, {"size": 1}, 1, 1),
        (Resource.GB_HOUR, 9, {"size": 1_024_000, "seconds": 2}, 1, 569),
    ],
)
def test_default_units__template_tells__most_it_can_cost(
    resource: Resource, decimals: int, params: dict[str, Any], width: int, units: int
) -> None:
    info = class_info(resource=resource, decimals=decimals)
    assert choosing.default_units(info, LLM, params, width) == units
