"""Ray: jobs through the Jobs REST API of a cluster's dashboard. The submission id is the escrow id.

So Ray itself refuses a second copy, and a restarted daemon finds its job by name. A further attempt is called
`<id>-2` and so on: Ray 2.60 fails a job under the name of one whose supervising actor still ends. Nothing
of Ray is imported here: it runs on the cluster, in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oracle.executors.base import EngineAway, ExecutorError, Work
from oracle.executors.cluster import Over
from oracle.settings_engines import RaySettings

_SUBMIT_TIMEOUT_S: Final = 60.0
"""Ray starts an agent and a supervising actor before it answers."""
_SHOWN: Final = 300
_MISSING: Final = 404
_AWAY: Final = (429, 502, 503, 504)
"""Statuses of a dashboard that is busy or starting. 500 isn't one: so Ray refuses a submission."""


class _Details(BaseModel):
    """What GET /api/jobs/<id> says, as far as we need it. Times in unix milliseconds of the head node."""

    model_config = ConfigDict(strict=True, extra="ignore")

    status: Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
    message: str | None = None
    start_time: int | None = Field(default=None, ge=0)
    end_time: int | None = Field(default=None, ge=0)
    driver_exit_code: int | None = None

    @property
    def lives(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("PENDING", "RUNNING")


class RayQueue:
    """See `oracle.executors.cluster.Queue`. A ticket is the submission id."""

    name = "ray"

    def __init__(self, settings: RaySettings, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._client = httpx.Client(
            base_url=settings.url, timeout=settings.timeout_s, trust_env=False, auth=self._authorize,
            transport=transport,
        )  # fmt: skip

    def submit(self, folder: Path, command: str, work: Work) -> str:
        """Queue it under the next name that is free."""
        ticket = _ticket(work.job_id, len(self._attempts(work.job_id)) + 1)
        asked = {
            "submission_id": ticket,
            "entrypoint": command,
            "entrypoint_num_cpus": work.limits.cores,
            "entrypoint_num_gpus": work.gpu_count,
            "entrypoint_memory": work.limits.memory_bytes,
            "metadata": {"scrip.template": work.template},
        }
        self._call("POST", "/api/jobs/", json=asked, timeout=_SUBMIT_TIMEOUT_S)
        return ticket

    def look(self, ticket: str, job_id: bytes) -> Over | None:
        """Its end, from status, driver_exit_code, start_time and end_time. Ray doesn't say which GPUs."""
        found = self._details(ticket)
        if found is None:  # somebody deleted it
            return Over(None, None, None, "killed")
        if found.lives:
            return None
        span_ns = None
        if found.start_time is not None and found.end_time is not None:
            span_ns = max(0, found.end_time - found.start_time) * 1_000_000
        code = found.driver_exit_code
        status = 128 - code if code is not None and code < 0 else code
        return Over(status, span_ns, None, "killed" if found.status == "STOPPED" else "")

    def cancel(self, ticket: str) -> None:
        """SIGTERM to the step, SIGKILL after Ray's own grace."""
        self._call("POST", f"/api/jobs/{ticket}/stop", absent_is_fine=True)

    def find(self, job_id: bytes) -> Sequence[str]:
        """Its attempts that wait or run."""
        return [ticket for ticket, found in self._attempts(job_id).items() if found.lives]

    def log(self, ticket: str, folder: Path) -> str:
        """What the step wrote, as Ray keeps it, and Ray's own message."""
        found = self._details(ticket)
        answer = self._call("GET", f"/api/jobs/{ticket}/logs", absent_is_fine=True)
        said = answer.get("logs") if isinstance(answer, dict) else ""
        return f"{'' if found is None else found.message or ''} {said or ''}"

    def check(self) -> str:
        """Its version."""
        answer = self._call("GET", "/api/version")
        self._call("GET", "/api/jobs/")  # the version is public, the jobs need the token
        version = answer.get("ray_version") if isinstance(answer, dict) else None
        return f"Ray {version} at {self._settings.url}"

    def _attempts(self, job_id: bytes) -> dict[str, _Details]:
        """Every attempt that Ray knows, in order."""
        attempts: dict[str, _Details] = {}
        while (found := self._details(ticket := _ticket(job_id, len(attempts) + 1))) is not None:
            attempts[ticket] = found
        return attempts

    def _details(self, ticket: str) -> _Details | None:
        answer = self._call("GET", f"/api/jobs/{ticket}", absent_is_fine=True)
        if answer is None:
            return None
        try:
            return _Details.model_validate(answer)
        except ValidationError as problem:
            where = problem.errors(include_url=False, include_input=False)[0]
            raise ExecutorError(f"Ray's answer on {ticket}: {where['loc']}: {where['msg']}") from problem

    def _call(self, method: str, path: str, *, absent_is_fine: bool = False, **options: Any) -> Any:
        """The JSON of an answer, None for one that is absent."""
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as problem:
            kind = type(problem).__name__
            raise EngineAway(f"Ray at {self._settings.url}: {kind}: {problem}") from problem
        if absent_is_fine and answer.status_code == _MISSING:
            return None
        if answer.status_code != httpx.codes.OK:
            said = " ".join(answer.text.split())[-_SHOWN:]
            refusal = EngineAway if answer.status_code in _AWAY else ExecutorError
            raise refusal(f"Ray: {method} {path} gives {answer.status_code}: {said}")
        try:
            return answer.json()
        except ValueError as problem:
            raise ExecutorError(f"Ray: {method} {path}: not JSON") from problem

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        """Read each time: a token may be replaced while we run."""
        path = self._settings.token_file
        if path is not None:
            try:
                token = path.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as problem:
                raise ExecutorError(f"ray.token_file {path}: {type(problem).__name__}") from problem
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def _ticket(job_id: bytes, attempt: int) -> str:
    return f"0x{job_id.hex()}" + (f"-{attempt}" if attempt > 1 else "")
