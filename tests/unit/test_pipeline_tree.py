"""The receipt of a pipeline: any change of its file is noticed, and one made up doesn't hold together."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agents.pipeline.tree import ReceiptTree, StageLeaf, checks
from scrip.errors import EvidenceInvalid
from scrip.types import Outcome
from tests.unit.pipeline_factory import CHAIN_ID, MARKET, PAYER, plan, redemption

PLAN = plan({"retrieve": [], "summarise": ["retrieve"], "check": ["retrieve", "summarise"]})


def leaf(name: str, salt: int, inputs: tuple[tuple[str, bytes], ...] = ()) -> StageLeaf:
    done = redemption(PLAN.stage(name).need({"question": name}), name.encode(), 7, salt)
    return StageLeaf(name, done.plan.terms, done.receipt, inputs, 7, 7)


def made() -> ReceiptTree:
    first = leaf("retrieve", 1)
    one = ("retrieve", first.receipt.output_hash)
    second = leaf("summarise", 2, (one,))
    third = leaf("check", 3, (one, ("summarise", second.receipt.output_hash)))
    return ReceiptTree("test", CHAIN_ID, MARKET, b"\x09" * 32, PAYER, 3, (first, second, third))


TREE = made()
FILE: dict[str, Any] = TREE.to_json()


def read(data: object) -> None:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    tree, root = ReceiptTree.decode(raw)
    checks(tree, root)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value in the file that isn't made of others."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from places(part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from places(part, (*path, index))
    else:
        yield path


def changed(path: tuple[Any, ...]) -> dict[str, Any]:
    """The file with one value replaced by another of its kind."""
    data = copy.deepcopy(FILE)
    inner: Any = data
    for step in path[:-1]:
        inner = inner[step]
    value = inner[path[-1]]
    if isinstance(value, int):
        inner[path[-1]] = value + 1
    elif value.startswith("0x"):
        inner[path[-1]] = value[:-1] + ("0" if value[-1] != "0" else "1")
    elif value.isdigit():
        inner[path[-1]] = str(int(value) + 1)
    else:
        inner[path[-1]] = value + "x"
    return data


@pytest.mark.parametrize("path", list(places(FILE)), ids=lambda path: ".".join(map(str, path)))
def test_decode__any_field_changed__noticed(path: tuple[Any, ...]) -> None:
    with pytest.raises(EvidenceInvalid):
        read(changed(path))


@pytest.mark.parametrize("path", [("stages", 0), ("stages", 2), ("proof",), ("pipeline", "payer"), ("root",)])
def test_decode__something_left_out__noticed(path: tuple[Any, ...]) -> None:
    data = copy.deepcopy(FILE)
    inner: Any = data
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    with pytest.raises(EvidenceInvalid):
        read(data)


def test_decode__stages_in_another_order__noticed() -> None:
    data = copy.deepcopy(FILE)
    data["stages"] = [data["stages"][at] for at in (1, 0, 2)]
    with pytest.raises(EvidenceInvalid, match=r"tree\.proof"):
        read(data)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b" " * (4 * 2**20 + 1)])
def test_decode__not_a_receipt__noticed(raw: bytes) -> None:
    with pytest.raises(EvidenceInvalid, match=r"tree\.format"):
        read(raw)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda it: replace(it, inputs=(("retrieve", b"\x05" * 32),)), "tree.links"),
        (lambda it: replace(it, inputs=(("check", it.receipt.output_hash),)), "tree.links"),
        (lambda it: replace(it, receipt=replace(it.receipt, job_id=b"\x05" * 32)), "tree.receipt"),
        (lambda it: replace(it, receipt=replace(it.receipt, outcome=Outcome.FAILED)), "tree.receipt"),
        (lambda it: replace(it, units=8), "tree.units"),
        (lambda it: replace(it, stage="retrieve"), "tree.stages"),
        (lambda it: replace(it, terms=TREE.stages[0].terms, receipt=TREE.stages[0].receipt), "tree.stages"),
    ],
)
def test_checks__made_up_with_a_root_of_its_own__does_not_hold_together(change: Any, check: str) -> None:
    first, second, third = TREE.stages
    forged = replace(TREE, stages=(first, change(second), third))
    with pytest.raises(EvidenceInvalid) as caught:
        read(forged.to_json())
    assert caught.value.check == check


def test_checks__paid_by_another__noticed() -> None:
    with pytest.raises(EvidenceInvalid, match=r"tree\.payer"):
        read(replace(TREE, payer="0x" + "55" * 20).to_json())


def test_root__no_stage_settled__still_one_that_can_be_read() -> None:
    read(replace(TREE, stages=()).to_json())


def test_decode__as_written__the_same_tree_and_what_it_shows() -> None:
    tree, root = ReceiptTree.decode(TREE.encode().encode())
    assert (tree, root, tree.cost) == (TREE, TREE.root, 21)
    assert [check.name for check in checks(tree, root)] == ["tree.root", "tree.links"]
