"""Plans and references: everything wrong with a plan is told at once, and outputs go where they should."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.pipeline import refs
from agents.pipeline.plan import Kind, Plan, PlanInvalid, check_inputs, published_schema
from agents.pipeline.refs import OutputUnusable
from scrip.errors import BadInput
from scrip.types import Resource, sku_id
from tests.unit.pipeline_factory import downstream, plan, stage, write

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "agents" / "pipeline" / "plan.schema.json"
EXAMPLE = ROOT / "docs" / "grounded-summary.toml"


def problems(*stages: dict[str, Any], **more: Any) -> list[tuple[Kind, str]]:
    with pytest.raises(PlanInvalid) as caught:
        Plan.parse({"name": "test", "stage": list(stages), **more})
    return [(each.kind, each.where) for each in caught.value.problems]


def with_params(name: str, **params: Any) -> dict[str, Any]:
    return stage(name, params=params)


# WHAT IS WRONG


def test_parse__several_mistakes__all_reported_with_their_kind() -> None:
    found = problems(
        with_params("a", x={"from": "nowhere"}, y={"input": "unnamed"}),
        with_params("b", x={"from": "a", "to": "b"}),
        with_params("b", x=1.5),
    )
    assert found == [
        (Kind.DUPLICATE, "b"),
        (Kind.UNKNOWN_STAGE, "a"),
        (Kind.UNKNOWN_INPUT, "a"),
        (Kind.REFERENCE, "b"),
        (Kind.FORMAT, "b"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"max_units": 0},
        {"max_units": "7"},
        {"resource": "GOLD"},
        {"name": "a.b"},
        {"name": "Über"},
        {"tries": 0},
        {"deadline_s": 1},
        {"min_assurance": 4},
        {"providers": ["0x12"]},
        {"shell": "id"},
    ],
)
def test_parse__field_out_of_bounds__named(change: dict[str, Any]) -> None:
    [(kind, where)] = problems(stage("a", **change) if "name" not in change else stage("a") | change)
    assert kind is Kind.FORMAT
    assert where == f"stage.0.{next(iter(change))}" or where.startswith(f"stage.0.{next(iter(change))}.")


def test_parse__no_stages_or_too_many__refused() -> None:
    assert problems() == [(Kind.FORMAT, "stage")]
    assert problems(*(stage(f"s{number}") for number in range(65))) == [(Kind.FORMAT, "stage")]


def test_parse__cycle__shown_as_one() -> None:
    with pytest.raises(PlanInvalid, match=r"cycle: .*a.*->.*b.*: each waits") as caught:
        plan({"a": ["b"], "b": ["a"], "c": []})
    assert [each.kind for each in caught.value.problems] == [Kind.CYCLE]


@pytest.mark.parametrize("how", [{"params": {"x": {"from": "a"}}}, {"after": ["a"]}])
def test_parse__stage_waits_for_itself__a_cycle(how: dict[str, Any]) -> None:
    assert problems(stage("a", **how)) == [(Kind.CYCLE, "a")]


@pytest.mark.parametrize(
    "bad",
    [
        {"from": 7},
        {"from": "a", "at": "text"},
        {"from": "a", "at": 7},
        {"input": ["a"]},
        {"join": []},
        {"join": "a"},
        {"join": ["a"], "sep": ","},
        {"join": [{"from": "a", "by": 1}]},
    ],
)
def test_parse__malformed_reference__where_it_is(bad: Any) -> None:
    assert problems(stage("a"), with_params("b", deep=[{"x": bad}]))[0] == (Kind.REFERENCE, "b")


def test_check_inputs__missing_and_unknown__both_reported() -> None:
    made = plan({"a": []}, inputs=["text"])
    with pytest.raises(PlanInvalid, match=r"text: unknown input: the plan needs it; tekst: .* has none"):
        check_inputs(made, {"tekst": ""})


@pytest.mark.parametrize(("text", "suffix"), [("= 1", ".toml"), ("{", ".json"), ("[" * 10_000, ".json")])
def test_load__not_toml_or_json__bad_input(tmp_path: Path, text: str, suffix: str) -> None:
    with pytest.raises(BadInput, match="TOML, or JSON"):
        Plan.load(write(tmp_path, text, suffix))


def test_load__missing_or_huge__bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can be read"):
        Plan.load(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="at most"):
        Plan.load(write(tmp_path, "#" * (1 << 20) + "#"))


@pytest.mark.parametrize(
    ("reference", "output", "said"),
    [
        ({"from": "a"}, b"\xff", "aren't UTF-8"),
        ({"from": "a", "at": "/x"}, b"text", "not JSON"),
        ({"from": "a", "at": "/x"}, b"{}", "nothing at /x"),
        ({"from": "a", "at": "/x/1"}, b'{"x": [0]}', "nothing at /x/1"),
        ({"from": "a", "at": "/x/-1"}, b'{"x": [0]}', "nothing at /x/-1"),
        ({"from": "a", "at": "/x"}, b"[" * 100_000, "not JSON"),
        ({"join": [{"from": "a", "at": ""}]}, b"{}", "dict among its parts"),
    ],
)
def test_resolve__output_that_cannot_be_used__typed_and_named(
    reference: Any, output: bytes, said: str
) -> None:
    with pytest.raises(OutputUnusable, match=said):
        refs.resolve({"x": reference}, {"a": output}, {})


# WHAT COMES OF IT


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"from": "a"}, '{"t": ["x", {"~/": 5}]}'),
        ({"from": "a", "at": "/t/0"}, "x"),
        ({"from": "a", "at": "/t/1/~0~1"}, 5),
        ({"from": "a", "at": ""}, {"t": ["x", {"~/": 5}]}),
        ({"input": "q"}, "why"),
        ({"join": ["> ", {"input": "q"}, {"from": "a", "at": "/t/1/~0~1"}]}, "> why5"),
        ({"plain": {"nested": [1, None, True]}}, {"plain": {"nested": [1, None, True]}}),
    ],
)
def test_resolve__each_form__its_value(reference: Any, value: Any) -> None:
    assert refs.resolve(reference, {"a": b'{"t": ["x", {"~/": 5}]}'}, {"q": "why"}) == value


def test_need__stage__what_the_policy_is_told() -> None:
    made = Plan.parse({"name": "t", "stage": [stage("a", sku="m", region="eu", min_assurance=2)]}).stage("a")
    need = made.need({"question": "?"}, key="k")
    assert (need.resource, need.max_units, need.min_assurance) == (Resource.OUTPUT_TOKEN, 100, 2)
    assert (need.sku, need.region, need.seconds, need.key) == (sku_id("m"), "eu", 600, "k")


def test_after__diamond__everything_that_needs_it() -> None:
    made = plan({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []})
    assert downstream(made, "b") == {"d"}
    assert downstream(made, "a") == {"b", "c", "d"}


def test_digest__plan_or_text_differs__another() -> None:
    one, other = plan({"a": []}), plan({"a": [], "b": []})
    digests = {one.digest({}), one.digest({"x": "1"}), other.digest({})}
    assert len(digests) == 3
    assert Plan.parse(json.loads(json.dumps(one.to_json()))).digest({}) == one.digest({})


def test_schema__published__is_that_of_the_model_and_fits_the_example() -> None:
    published = json.loads(SCHEMA.read_text("utf-8"))
    assert published == published_schema(), (
        "python -m agents.pipeline.plan > agents/pipeline/plan.schema.json"
    )
    jsonschema.validate(tomllib.loads(EXAMPLE.read_text("utf-8")), published)
    assert Plan.load(EXAMPLE).order() == ("retrieve", "summarise", "check")


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Stages that take from earlier ones, in a shuffled file."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 8)))]
    edges = {
        name: draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else []
        for at, name in enumerate(names)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


@given(graphs())
def test_order__any_graph__each_after_its_parents_and_always_the_same(edges: dict[str, list[str]]) -> None:
    made = plan(edges)
    order = made.order()
    assert sorted(order) == sorted(edges)
    assert all(order.index(parent) < order.index(name) for name in order for parent in edges[name])
    assert order == Plan.parse(made.to_json()).order()


@given(graphs(), st.data())
def test_parse__an_edge_back__always_a_cycle(edges: dict[str, list[str]], data: st.DataObject) -> None:
    made = plan(edges)
    name = data.draw(st.sampled_from(sorted(edges)))
    back = data.draw(st.sampled_from(sorted({*downstream(made, name), name})))
    with pytest.raises(PlanInvalid) as caught:
        plan({**edges, name: [*edges[name], back]})
    assert [each.kind for each in caught.value.problems] == [Kind.CYCLE]
