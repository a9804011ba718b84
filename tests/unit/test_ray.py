"""What Ray's dashboard may answer, and what becomes of it. A mock server; integration has a real Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from oracle.executors.base import EngineAway, ExecutorError
from oracle.executors.cluster import Over
from oracle.executors.ray import RayQueue
from oracle.settings_engines import RaySettings
from tests.unit import job_probes as probes

JOB = b"\x0a" * 32
NAME = "0x" + "0a" * 32
TOKEN = "secret-of-a-test"  # noqa: S105

Handler = Callable[[httpx.Request], httpx.Response]


def queue(tmp_path: Path, handler: Handler) -> RayQueue:
    (tmp_path / "token").write_text(TOKEN + "\n")
    settings = RaySettings(url="http://ray.test:8265", token_file=tmp_path / "token")
    return RayQueue(settings, httpx.MockTransport(handler))


def answering(found: dict[str, Any]) -> Handler:
    """GET of a job gives `found`, anything else is absent."""

    def handler(request: httpx.Request) -> httpx.Response:
        name = request.url.path.removeprefix("/api/jobs/")
        return httpx.Response(200, json=found[name]) if name in found else httpx.Response(404)

    return handler


def details(status: str, **more: Any) -> dict[str, Any]:
    return {"type": "SUBMISSION", "status": status, "entrypoint": "x", **more}


@pytest.mark.parametrize(
    ("answer", "over"),
    [
        (details("PENDING"), None),
        (details("RUNNING", start_time=1), None),
        (details("SUCCEEDED", start_time=1, end_time=3, driver_exit_code=0), Over(0, 2_000_000, None)),
        (details("FAILED", start_time=1, end_time=2, driver_exit_code=3), Over(3, 1_000_000, None)),
        (details("FAILED", start_time=1, end_time=2, driver_exit_code=-9), Over(137, 1_000_000, None)),
        (details("FAILED", start_time=9, end_time=2, driver_exit_code=3), Over(3, 0, None)),
        (details("FAILED", start_time=1, driver_exit_code=None), Over(None, None, None)),
        (details("STOPPED", start_time=1, end_time=2), Over(None, 1_000_000, None, "killed")),
    ],
)  # fmt: skip
def test_look__by_status(tmp_path: Path, answer: dict[str, Any], over: Over | None) -> None:
    assert queue(tmp_path, answering({NAME: answer})).look(NAME, JOB) == over


def test_look__deleted_by_somebody__killed(tmp_path: Path) -> None:
    assert queue(tmp_path, answering({})).look(NAME, JOB) == Over(None, None, None, "killed")


@pytest.mark.parametrize(
    "answer", [{}, details("DONE"), details("FAILED", end_time="2"), details("FAILED", start_time=-1)]
)
def test_look__answer_of_another_form__no_word_at_all(tmp_path: Path, answer: dict[str, Any]) -> None:
    with pytest.raises(ExecutorError, match="Ray's answer"):
        queue(tmp_path, answering({NAME: answer})).look(NAME, JOB)


def test_find__several_attempts__only_what_lives(tmp_path: Path) -> None:
    found = {NAME: details("FAILED"), f"{NAME}-2": details("RUNNING"), f"{NAME}-4": details("RUNNING")}
    assert queue(tmp_path, answering(found)).find(JOB) == [f"{NAME}-2"]


def test_submit__next_free_name_resources_and_token(tmp_path: Path) -> None:
    sent: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if request.method == "POST":
            return httpx.Response(200, json={})
        return answering({NAME: details("FAILED")})(request)

    assert queue(tmp_path, handler).submit(tmp_path, "run", probes.work(tmp_path, "ok")) == "0x" + "01" * 32
    body = json.loads(sent[-1].content)
    assert (body["entrypoint"], body["entrypoint_num_cpus"], body["entrypoint_num_gpus"]) == ("run", 1, 0)
    assert {request.headers["Authorization"] for request in sent} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500, text="boom"),
        httpx.Response(401),
        httpx.Response(200, text="<html>"),
        httpx.Response(302),
    ],
)
def test_call__anything_but_json__executor_error_without_the_token(
    tmp_path: Path, response: httpx.Response
) -> None:
    with pytest.raises(ExecutorError) as refused:
        queue(tmp_path, lambda _: response).check()
    assert TOKEN not in str(refused.value)


def test_call__no_connection__executor_error(tmp_path: Path) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(EngineAway, match="ConnectError"):
        queue(tmp_path, handler).find(JOB)


def test_call__token_file_missing__says_which(tmp_path: Path) -> None:
    asked = queue(tmp_path, answering({}))
    (tmp_path / "token").unlink()
    with pytest.raises(ExecutorError, match=r"ray\.token_file"):
        asked.find(JOB)
