"""`scrip audit export` on a real chain: every settlement, once, in a file that is only appended to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scrip.audit import export as exports
from scrip.audit.export import AuditDamaged
from tests.integration.audit_file import OTHER, Trail


def test_export__every_kind__one_line_for_each_settlement_and_the_burns(history: Trail) -> None:
    done = history.export()
    scene = history.scene
    used = 6_000 + 1 + 3_000 + 1_777 + 1_500
    assert done["burned"] == {str(scene.class_id): str(used + 11), str(scene.class_id + 1): "4000"}
    assert (done["added"], done["settlements"], done["unlinked"]) == (8, 8, 0)
    jobs = history.of_type("job")
    assert [line["units"] for line in jobs] == ["6000", "1", "3000", "4000"]
    assert [line["receipt"]["units"] for line in jobs] == [line["units"] for line in jobs]
    assert jobs[0]["signed"] == jobs[1]["signed"] != jobs[2]["signed"]
    waited = jobs[3]
    assert int(waited["submission"]["block"]) < int(waited["block"])
    assert sum(int(line["paid"]) for line in history.lines() if "provider" in line and "paid" in line) == (
        scene.earned("provider")
    )
    batch, watched, _ = history.of_type("attestation")
    assert (len(batch["receipts"]), batch["batch"], len(watched["watchers"])) == (3, True, 2)
    found = history.verify()
    assert (found["ok"], found["settlements"], found["burned"]) == (True, 8, done["burned"])
    assert found["head"] == done["head"]


def test_export__again__appends_what_is_new_and_never_rewrites(history: Trail) -> None:
    history.export()
    before = history.path.read_bytes()
    assert history.export()["added"] == 0
    assert history.path.read_bytes() == before
    history.scene.class_id += 1
    scene = history.scene
    terms = history.open(2_000, OTHER)
    session = history.session(1_000, OTHER)
    head = history.export()["head"]
    assert history.verify("--head", head)["ok"]
    history.settle((terms, 1_000))
    scene.system.anvil.advance(100)
    scene.send("relayer", "JobMarket", "finalize", terms.to_abi())
    history.claim((session, 40))
    assert history.export()["added"] == 2
    history.claim((session, 100))
    done = history.export()
    assert history.path.read_bytes().startswith(before)
    assert [line["cumulative"] for line in history.of_type("session")[-2:]] == ["40", "100"]
    assert len(history.of_type("seal")) == 4
    assert history.verify("--head", head)["head"] == done["head"]


def test_export__range__is_that_of_the_blocks_and_continues(history: Trail) -> None:
    history.export()
    middle = history.of_type("job")[1]["block"]
    history.path.unlink()
    first = history.export("--to-block", middle)
    assert (first["added"], first["toBlock"]) == (2, middle)
    assert history.export()["added"] == 6
    assert history.verify()["ok"]
    history.path.unlink()
    later = history.export("--from-block", str(int(middle) + 1))
    assert (later["added"], later["fromBlock"]) == (6, str(int(middle) + 1))
    assert history.verify()["ok"]


def test_export__in_parts_within_a_batch__the_attestation_is_told_once(trail: Trail) -> None:
    scene = trail.scene
    scene.class_id = trail.windowed()
    scene.give(OTHER, 9_000, scene.class_id)
    one, two = trail.open(3_000, OTHER), trail.open(3_000, OTHER)
    trail.settle((one, 100), (two, 200))
    scene.system.anvil.advance(100)
    for terms in (one, two):
        scene.send("relayer", "JobMarket", "finalize", terms.to_abi())
        assert trail.export()["added"] == 1
    assert len(trail.of_type("attestation")) == 1
    assert trail.verify()["ok"]


@pytest.mark.parametrize(
    "cut", [lambda part: 0, lambda part: 1, lambda part: len(part) // 2, lambda part: len(part) - 1, len]
)
def test_export__killed_while_it_appends__is_finished_by_the_next(
    history: Trail, cut: Callable[[bytes], int], tmp_path: Path
) -> None:
    history.export("--to-block", _middle(history, tmp_path))
    first = history.path.read_bytes()
    history.export()
    whole = history.path.read_bytes()
    part = whole[len(first) :]
    history.path.write_bytes(first + part[: cut(part)])
    history.path.with_name("audit.jsonl.part").write_bytes(part)
    assert history.export()["added"] == 0
    assert history.path.read_bytes() == whole
    # Killed while it wrote the part: nothing of it counts.
    history.path.write_bytes(first)
    history.path.with_name("audit.jsonl.part").write_bytes(part[: len(part) // 2])
    history.export()
    assert history.path.read_bytes() == whole


def _middle(history: Trail, folder: Path) -> str:
    spare = replace(history, folder=folder / "spare")
    spare.folder.mkdir()
    spare.export()
    return str(spare.of_type("job")[2]["block"])


@pytest.mark.parametrize("damage", ["changed", "dropped", "cut", "torn"])
def test_export__damaged_file__refuses_to_append(history: Trail, damage: str) -> None:
    history.export()
    raw = history.path.read_bytes()
    lines = raw.splitlines(keepends=True)
    damaged = {
        "changed": raw.replace(b'"units":"6000"', b'"units":"6001"', 1),
        "dropped": b"".join(lines[:3] + lines[4:]),
        "cut": b"".join(lines[:-1]),
        "torn": raw[:-20],
    }[damage]
    history.path.write_bytes(damaged)
    result = history.run("export", str(history.path))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "doesn't hold: line " in result.stderr
    assert history.path.read_bytes() == damaged


def test_reorganisation__blocks_replaced__is_found_and_not_appended_to(history: Trail) -> None:
    anvil = history.scene.system.anvil
    history.scene.class_id += 1
    snapshot = anvil.rpc("evm_snapshot")
    history.open(100, OTHER)
    history.export()
    anvil.rpc("evm_revert", snapshot)
    assert history.fails() == {"block.hash"}  # the node has no such block any more
    anvil.advance(1_000)
    history.open(200, OTHER)
    anvil.rpc("anvil_mine", "0x5")
    assert history.fails() == {"block.hash"}
    with pytest.raises(AuditDamaged, match=r"block\.hash"):
        exports.export(history.scene.chain, history.path)
