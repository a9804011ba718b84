"""Slurm's word, without Slurm: the files of Prolog and Epilog, and the script that writes them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import oracle.executors
from oracle.executors.order import ReportInvalid
from oracle.executors.slurm_spool import Edges, read_edges

METER = Path(oracle.executors.__file__).with_name("slurm_meter.sh")
JOB = b"\x0a" * 32
UID = os.geteuid()


def text(of: str, **changes: str) -> str:
    """A file of the edge `of`."""
    status, uptime = ("3:0", "105.25") if of == "end" else ("", "100.50")
    values = {
        "head": "scrip-slurm 1", "edge": of, "job": "17", "id": JOB.hex(), "gpus": "0,1", "exit": status,
        "uptime": uptime, "at": "1790000000",
    } | changes  # fmt: skip
    head = values.pop("head")
    return "\n".join([head, *(f"{name}={value}" for name, value in values.items()), ""])


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for edge in ("begin", "end"):
        (tmp_path / f"17.{edge}").write_text(text(edge))
    return tmp_path


def edges(spool: Path) -> Edges | None:
    return read_edges(spool, UID, "17", JOB)


def test_read__both_edges__span_gpus_and_status(spool: Path) -> None:
    assert edges(spool) == Edges(4_750_000_000, (0, 1), 3)


@pytest.mark.parametrize(("given", "status"), [("0:0", 0), ("0:9", 137), ("137:0", 137), ("", None)])
def test_read__status(spool: Path, given: str, status: int | None) -> None:
    (spool / "17.end").write_text(text("end", exit=given))
    found = edges(spool)
    assert found is not None
    assert found.status == status


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_read__one_edge_missing__not_over(spool: Path, edge: str) -> None:
    (spool / f"17.{edge}").unlink()
    assert edges(spool) is None


def test_read__node_restarted_in_between__refused(spool: Path) -> None:
    (spool / "17.end").write_text(text("end", uptime="3.00"))
    with pytest.raises(ReportInvalid, match="before it begins"):
        edges(spool)


def test_read__gpus_differ__refused(spool: Path) -> None:
    (spool / "17.end").write_text(text("end", gpus="0"))
    with pytest.raises(ReportInvalid, match="at the begin '0,1'"):
        edges(spool)


@pytest.mark.parametrize(
    "changes",
    [
        {"job": "18"}, {"id": "0b" * 32}, {"edge": "begin"}, {"head": "scrip-slurm 2"}, {"exit": "3"},
        {"exit": "-1:0"}, {"gpus": "0,"}, {"gpus": "all"}, {"uptime": "1e9"}, {"uptime": "٣.00"},
        {"at": "now"}, {"at": "1\nmore=1"}, {"uptime": "105.25 "},
    ],
)  # fmt: skip
def test_read__form_or_job_differs__refused(spool: Path, changes: dict[str, str]) -> None:
    (spool / "17.end").write_text(text("end", **changes))
    with pytest.raises(ReportInvalid):
        edges(spool)


def test_read__made_by_somebody_else__refused(spool: Path) -> None:
    with pytest.raises(ReportInvalid, match="must belong to"):
        read_edges(spool, UID + 1, "17", JOB)


def test_read__writable_by_all__refused(spool: Path) -> None:
    (spool / "17.end").chmod(0o666)
    with pytest.raises(ReportInvalid, match="writable by others"):
        edges(spool)


# ---- the script


ENVIRONMENT = {
    "SLURM_JOB_COMMENT": "scrip:0x" + JOB.hex(), "SLURM_JOB_ID": "17", "SLURM_JOB_GPUS": "0,1",
    "SLURM_SCRIPT_CONTEXT": "epilog_slurmd", "SLURM_JOB_EXIT_CODE2": "3:0", "PATH": os.defpath,
}  # fmt: skip


def meter(spool: Path, **changes: str) -> list[str]:
    """The files it leaves. It never fails: Slurm would drain the node."""
    environment = ENVIRONMENT | {"SCRIP_SPOOL": str(spool)} | changes
    done = subprocess.run([str(METER)], env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    return sorted(path.name for path in spool.iterdir()) if spool.exists() else []


def test_meter__both_edges__read_back(tmp_path: Path) -> None:
    meter(tmp_path, SLURM_SCRIPT_CONTEXT="prolog_slurmd", SLURM_JOB_EXIT_CODE2="")
    assert meter(tmp_path) == ["17.begin", "17.end"]
    found = edges(tmp_path)
    assert found is not None
    assert (found.gpus, found.status) == ((0, 1), 3)
    assert 0 <= found.span_ns < 10_000_000_000
    assert (tmp_path / "17.end").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_JOB_COMMENT": ""}, {"SLURM_JOB_COMMENT": "other"},
        {"SLURM_JOB_COMMENT": "scrip:0x" + "g" * 64},
        {"SLURM_JOB_COMMENT": "scrip:0x0a"}, {"SLURM_JOB_COMMENT": "scrip:0x" + "0a" * 32 + "\nexit=0:0"},
        {"SLURM_JOB_ID": "../17"}, {"SLURM_JOB_ID": ""}, {"SLURM_JOB_GPUS": "0\nexit=0:0"},
        {"SLURM_JOB_EXIT_CODE2": "0:0\nx"}, {"SLURM_SCRIPT_CONTEXT": "task"},
    ],
)  # fmt: skip
def test_meter__not_ours_or_not_plain__nothing_written(tmp_path: Path, changes: dict[str, str]) -> None:
    assert meter(tmp_path, **changes) == []


def test_meter__no_spool__still_succeeds(tmp_path: Path) -> None:
    assert meter(tmp_path / "absent") == []
