"""Running a plan, with a loop that plays the providers: order, failures, what is paid, and going on."""

from __future__ import annotations

import itertools
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.pipeline import tree
from agents.pipeline.plan import Plan
from agents.pipeline.run import Result, Run
from agents.pipeline.state import InUse, StageStatus, State
from agents.pipeline.tree import ReceiptTree
from scrip.errors import BadInput, NodeUnavailable, NotFound, Refused
from tests.unit.pipeline_factory import FAST, PlayedWork, downstream, plan, snapshot
from tests.unit.test_pipeline_plan import graphs

LINE = {"a": [], "b": ["a"], "c": ["b"]}
DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


class Killed(BaseException):
    """The process ends here."""


def run(folder: Path, edges: dict[str, list[str]], work: PlayedWork) -> Result:
    with State.create(folder, snapshot(plan(edges))) as state:
        return Run(state, work).go()


def again(folder: Path, work: PlayedWork) -> Result:
    with State.open(folder) as state:
        return Run(state, work).go()


def statuses(result: Result) -> dict[str, str]:
    return {name: record.status.value for name, record in result.stages.items()}


# WHEN SOMETHING FAILS


def test_go__stage_fails__what_needs_it_is_skipped_and_the_rest_is_done(tmp_path: Path) -> None:
    work = PlayedWork({"b": Refused("no")})
    result = run(tmp_path, DIAMOND, work)
    assert statuses(result) == {"a": "settled", "b": "failed", "c": "settled", "d": "skipped"}
    assert result.stages["d"].detail == "it needs b"
    assert (result.complete, result.unfinished, result.spent) == (False, {}, 7 + 3 + 7)
    assert "d" not in {name for _, name in work.log}


def test_go__output_does_not_fit_the_next_stage__that_one_fails(tmp_path: Path) -> None:
    edges = plan({"a": [], "b": ["a"]}).to_json()
    edges["stage"][1]["params"] = {"question": {"from": "a", "at": "/answer"}}
    with State.create(tmp_path, snapshot(Plan.parse(edges))) as state:
        result = Run(state, PlayedWork()).go()
    assert statuses(result) == {"a": "settled", "b": "failed"}
    assert "not JSON" in result.stages["b"].detail


def test_go__outcome_unknown__unfinished_and_what_needs_it_waits(tmp_path: Path) -> None:
    result = run(tmp_path, LINE, PlayedWork({"b": NodeUnavailable("node", "timeout")}))
    assert statuses(result) == {"a": "settled", "b": "started", "c": "waiting"}
    assert result.unfinished == {"b": "node node: timeout", "c": "waits for b"}


def test_go__paid_job_whose_result_is_kept_back__unfinished_not_failed(tmp_path: Path) -> None:
    result = run(tmp_path, LINE, PlayedWork({"b": Refused("not for you")}, open={"b"}))
    assert statuses(result) == {"a": "settled", "b": "started", "c": "waiting"}
    assert result.unfinished["b"] == "refused: not for you"


def test_go__resumed_after_an_unknown_outcome__taken_up_under_the_same_key(tmp_path: Path) -> None:
    work = PlayedWork({"b": NodeUnavailable("node", "timeout")})
    run(tmp_path, LINE, work)
    work.errors.clear()
    result = again(tmp_path, work)
    assert result.complete
    assert [key.rpartition("-")[2] for key in work.asked] == ["a", "b", "b", "c"]
    assert len(set(work.asked)) == 3


def test_go__killed_after_a_stage_was_paid__paid_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = PlayedWork()
    keep, calls = State.keep_output, itertools.count()

    def killed(self: State, name: str, output: bytes) -> None:
        if next(calls) == 1:
            raise Killed
        keep(self, name, output)

    monkeypatch.setattr(State, "keep_output", killed)
    with pytest.raises(Killed):
        run(tmp_path, LINE, work)
    result = again(tmp_path, work)
    assert result.complete
    assert len(work.paid) == 3
    assert [name for what, name in work.log if what == "begin"] == ["a", "b", "b", "c"]


def test_go__a_bug_in_a_stage__raised_once_the_others_have_ended(tmp_path: Path) -> None:
    work = PlayedWork({"b": ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, {"b": [], "c": []}, work)
    assert sorted(work.log) == [("begin", "b"), ("begin", "c"), ("end", "b"), ("end", "c")]


def test_state__output_changed_on_disk__not_used(tmp_path: Path) -> None:
    work = PlayedWork({"b": NodeUnavailable("node", "timeout")})
    run(tmp_path, LINE, work)
    (tmp_path / "outputs" / "a").write_bytes(b"other")
    result = again(tmp_path, work)
    assert "what the stage's receipt commits to" in result.unfinished["b"]


def test_create__folder_has_a_run__refused_with_the_next_step(tmp_path: Path) -> None:
    run(tmp_path, LINE, PlayedWork())
    with pytest.raises(BadInput, match="scrip pipeline resume"):
        run(tmp_path, LINE, PlayedWork())


def test_open__by_two_at_once__refused(tmp_path: Path) -> None:
    with State.create(tmp_path, snapshot(plan(LINE))), pytest.raises(InUse), State.open(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "stages": {"a": 1}}'])
def test_open__damaged_state__refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(BadInput), State.open(tmp_path):
        pass


def test_open__no_run__not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound), State.open(tmp_path):
        pass


# WHEN IT GOES WELL


def test_go__outputs__feed_the_stages_that_take_them(tmp_path: Path) -> None:
    run(tmp_path, DIAMOND, PlayedWork())
    assert (tmp_path / "outputs" / "d").read_text() == "<d:<b:<a:>><c:<a:>>>"


def test_go__two_that_need_nothing_of_each_other__side_by_side(tmp_path: Path) -> None:
    # Each waits for the other: one after the other they would never pass.
    assert run(tmp_path, {"a": [], "b": []}, PlayedWork(barrier=threading.Barrier(2))).complete


def test_go__ended_run__shown_again_without_asking_anybody(tmp_path: Path) -> None:
    run(tmp_path, DIAMOND, PlayedWork())
    work = PlayedWork()
    result = again(tmp_path, work)
    assert (result.complete, work.log) == (True, [])


@settings(max_examples=60, deadline=None)
@given(graphs(), st.data())
def test_go__any_graph_any_failures__order_sums_and_receipt_hold(
    edges: dict[str, list[str]], data: st.DataObject
) -> None:
    failing = data.draw(st.sets(st.sampled_from(sorted(edges))))
    lost = data.draw(st.integers(0, 100))
    work = PlayedWork({name: Refused("no") for name in failing}, lost=lost)
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        result = run(Path(place), edges, work)
    made = plan(edges)
    doomed = {after for name in failing for after in downstream(made, name)}
    for name, record in result.stages.items():
        wanted = (
            StageStatus.SKIPPED
            if name in doomed
            else StageStatus.FAILED
            if name in failing
            else StageStatus.SETTLED
        )
        assert record.status is wanted
        assert record.spent == {"settled": work.units, "failed": lost, "skipped": 0}[wanted.value]
        assert record.spent <= record.most
    for at, (what, name) in enumerate(work.log):
        if what == "begin":
            assert {("end", parent) for parent in edges[name]} <= set(work.log[:at])
    assert len(set(work.asked)) == len(work.asked) == len(edges) - len(doomed)
    decoded, root = ReceiptTree.decode(result.tree.encode().encode())
    assert (decoded, root) == (result.tree, result.tree.root)
    tree.checks(decoded, root)
    assert {leaf.stage for leaf in decoded.stages} == set(edges) - failing - doomed


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_go__interrupted_any_number_of_times__every_stage_paid_once(
    edges: dict[str, list[str]], data: st.DataObject
) -> None:
    work = PlayedWork()
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        folder = Path(place)
        with State.create(folder, snapshot(plan(edges))):
            pass
        for _ in range(data.draw(st.integers(0, 3))):
            broken = data.draw(st.sets(st.sampled_from(sorted(edges))))
            work.errors = {name: NodeUnavailable("node", "gone") for name in broken}
            again(folder, work)
        work.errors = {}
        result = again(folder, work)
    assert result.complete
    assert len(work.paid) == len(edges)
    assert result.spent == work.units * len(edges)
