"""Runs one attempt at a job: executor, meters, attribution, evidence and an unsigned receipt.

`executing` is stored before the process starts and `metered` only after the evidence is on disk, so a crash
in between costs an attempt and nothing else: the next attempt has its own number, directory and evidence.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from oracle import intake
from oracle.attribution import AttributionError, attribute
from oracle.desk import Desk
from oracle.evidence import EvidenceStore, StorageFull
from oracle.executors.base import (
    ExecutorError,
    Exit,
    GivenUp,
    Left,
    NotBegun,
    ResultInvalid,
    wait_or_kill,
)
from oracle.executors.engines import Engines
from oracle.executors.result import read_output
from oracle.facts import Facts
from oracle.gpu_pool import GpuPool
from oracle.host import named_platform, platform_label
from oracle.intake import Declined, Plan
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.models import JobRow
from oracle.receipt import TELEMETRY, Attempt, Draft, anchor_interval, make_receipt, with_assurance
from oracle.reports import GpuReports, level_of
from oracle.room import check_room
from oracle.settings import ProviderSettings
from oracle.states import State
from oracle.store import Store
from oracle.telemetry.base import Lease, Meter, RecordingFailed, TelemetryError
from oracle.telemetry.recorder import Recorder
from oracle.tracing import span
from scrip.errors import EvidenceInvalid, NotFound, Refused
from scrip.evidence import MAX_OUTPUT_BYTES, Bundle, Result, Sample, seal
from scrip.spec import JobSpec
from scrip.types import JobState, Outcome, Receipt, Status

RETRY_MS: Final = 1_000
AWAY_MS: Final = 3_000
LOG_CHARS: Final = 300

Meters = Callable[[Plan], Sequence[Meter]]
"""The meters that a job needs, fresh ones."""

_log = get(__name__)


class AttemptLost(Exception):
    """This attempt can't be billed and says nothing about the job: it is run again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an attempt left: how it ended, unsealed samples, output."""

    exit: Exit
    samples: Sequence[Sample]
    result: Result
    output: bytes


class Worker:
    """Runs attempts. `run` is called from worker threads, the rest from anywhere."""

    def __init__(
        self,
        *,
        store: Store,
        facts: Facts,
        desk: Desk,
        engines: Engines,
        meters: Meters,
        evidence: EvidenceStore,
        workroot: Path,
        metrics: Metrics,
        reports: GpuReports,
    ) -> None:
        self._store, self._facts, self._desk, self._engines = store, facts, desk, engines
        self._meters, self._evidence, self._workroot, self._metrics = meters, evidence, workroot, metrics
        self._reports = reports
        self._settings: ProviderSettings = desk.policy.provider
        self._gpus = GpuPool(self._settings.gpus, self._settings.gpu_tenants)
        self._lock = threading.Lock()
        self._active: dict[bytes, threading.Event] = {}
        self._closing = threading.Event()

    def close(self) -> None:
        """Begin no more attempts; those that run go on."""
        self._closing.set()

    def is_active(self, job_id: bytes) -> bool:
        """Whether a thread of this process works on the job."""
        with self._lock:
            return job_id in self._active

    def abort(self, job_id: bytes) -> None:
        """End the job's process, if one runs: the job is over for another reason."""
        with self._lock:
            if job_id in self._active:
                self._active[job_id].set()

    def recover(self, job: JobRow) -> None:
        """Clear up after an attempt of an earlier process and queue the job again. Raises ExecutorError.

        Every engine is asked, since the catalogue may have changed. What is found is ended, not taken up: the
        start edge of its evidence went with the process that metered it.
        """
        left = Left(job.job_id, job.process_group, job.born_ns)
        for engine, executor in self._engines.executors.items():
            if ended := executor.end_stale(left):
                _log.warning("orphan ended", job=job.label, attempt=job.attempt, engine=engine, count=ended)
        shutil.rmtree(self._workdir(job.job_id, job.attempt), ignore_errors=True)
        reason = "the node restarted during this attempt"
        _log.warning("attempt lost", job=job.label, attempt=job.attempt, reason=reason)
        self._store.move(job.job_id, State.QUEUED, reason, since=(State.EXECUTING,))

    def abort_all(self) -> None:
        """End every process of ours: the node stops at once."""
        with self._lock:
            for stop in self._active.values():
                stop.set()

    def run(self, job_id: bytes) -> None:
        """Take a queued job one attempt further. Raises what the world around raises; see `oracle.tasks`."""
        with self._lock:
            if job_id in self._active:
                return
            stop = self._active[job_id] = threading.Event()
        try:
            job = self._store.job(job_id)
            if job.at is State.QUEUED:
                self._run(job, stop)
        finally:
            with self._lock:
                del self._active[job_id]

    def _run(self, job: JobRow, stop: threading.Event) -> None:
        state = self._facts.job(job.job_id)
        if state.status is not Status.RUNNING or state.nonce != job.nonce:
            return  # the next reconciliation sees the same and decides
        try:
            spec, planned = self._prepare(job)
        except Declined as declined:
            self.give_back(job, str(declined))
            return
        if job.attempt >= self._settings.max_attempts:
            self.give_back(job, f"{job.attempt} attempts failed, the last one: {job.reason}")
            return
        given_up = self._given_up(stop)
        ours = 0 if self._engines.of(planned.template.engine).places_gpus else planned.gpus
        with self._gpus.lease(ours, given_up) as gpus:
            if given_up():
                return
            check_room(self._workroot, planned.template.limits.output_bytes)
            try:
                self._check_time(job, planned)  # again: the GPUs may have been long in coming
            except Declined as declined:
                self.give_back(job, str(declined))
                return
            with span("attempt", job.job_id, number=job.attempt + 1, template=planned.template.name):
                self._attempt(job, spec, planned, gpus, stop, state)

    def give_back(self, job: JobRow, reason: str) -> None:
        """Return the job's whole lock to its payer, because it can't be done any more."""
        _log.warning("job given back", job=job.label, reason=reason)
        self._store.move(job.job_id, State.CANCELLING, reason, not_before_ms=0)

    def _prepare(self, job: JobRow) -> tuple[JobSpec, Plan]:
        spec = self._store.spec(job.terms.spec_hash)
        if spec is None:
            raise Declined(intake.Why.SPEC, "the spec was never sent", "nothing", "PUT /specs/{specHash}")
        planned = self._desk.plan(job.terms, spec, taken=True)
        self._check_time(job, planned)
        return spec, replace(planned, content=self._content(job, planned))

    def _content(self, job: JobRow, planned: Plan) -> bytes | None:
        """The output that the job works on. Only its own payer may name it: outputs are private."""
        source = planned.params.source_job()
        if source is None:
            return None
        with suppress(NotFound):
            found = self._evidence.get(source)
            if found.terms.payer == job.terms.payer and found.result.completed:
                return found.output
        label, limit = "0x" + source.hex(), "a job done here for the same payer, and still kept"
        raise Declined(intake.Why.SPEC, "there is no such output", label, limit)

    def _check_time(self, job: JobRow, planned: Plan) -> None:
        intake.check_time(job.terms, planned, self._desk.policy, self._facts.now(), to_accept=False)

    def _attempt(
        self,
        job: JobRow,
        spec: JobSpec,
        planned: Plan,
        gpus: tuple[str, ...],
        stop: threading.Event,
        state: JobState,
    ) -> None:
        number = job.attempt + 1
        job = self._store.move(
            job.job_id,
            State.EXECUTING,
            since=(State.QUEUED,),
            attempt=number,
            process_group=None,
            born_ns=None,
        )
        _log.info(
            "executing", job=job.label, attempt=number, template=planned.template.name,
            engine=planned.template.engine, gpus=list(gpus),
        )  # fmt: skip
        workdir = self._workdir(job.job_id, number)
        try:
            with span("execute", job.job_id):
                recorded = self._record(job, planned, gpus, workdir, stop, state.nonce)
            self._metrics.runs.labels(planned.template.name, recorded.result.reason).inc()
            with span("meter", job.job_id):
                self._keep(job, spec, planned, recorded, state)
        except (AttemptLost, TelemetryError, ExecutorError, StorageFull) as lost:
            self._metrics.runs.labels(planned.template.name, "lost").inc()
            self._lose(job, lost, stop)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def _ended_by_us(self, stop: threading.Event) -> bool:
        """Whether the job was ended because the node stops."""
        return stop.is_set() and self._closing.is_set()

    def _lose(self, job: JobRow, lost: Exception, stop: threading.Event) -> None:
        """Queue the job again. An attempt that never began, or that we cut off ourselves, doesn't count."""
        ended, begun = self._ended_by_us(stop), not isinstance(lost, NotBegun)
        reason = "the node was stopped" if ended else str(lost)
        _log.warning("attempt lost", job=job.label, attempt=job.attempt, reason=reason)
        pause_ms = 0 if ended else RETRY_MS * job.attempt if begun else AWAY_MS
        self._store.move(
            job.job_id, State.QUEUED, reason, since=(State.EXECUTING,),
            not_before_ms=self._store.now_ms() + pause_ms,
            attempt=job.attempt if begun and not ended else job.attempt - 1,
        )  # fmt: skip

    # Running and metering

    def _record(
        self,
        job: JobRow,
        planned: Plan,
        gpus: tuple[str, ...],
        workdir: Path,
        stop: threading.Event,
        nonce: int,
    ) -> Recorded:
        left = job.terms.submit_by - self._facts.now() - self._settings.submit_margin_s
        limit = max(1, min(planned.seconds, left))
        work = planned.template.work(
            job.job_id, nonce, planned.params, workdir, gpus=gpus, gpu_count=planned.gpus, seconds=limit,
            content=planned.content,
        )  # fmt: skip
        given_up = self._given_up(stop, time.monotonic() + left - intake.run_seconds(planned))
        running = self._engines.of(planned.template.engine).start(work, given_up)
        try:
            self._store.note(job.job_id, process_group=running.pgid, born_ns=running.born_ns)
            lease = Lease(job.job_id, running.pid, running.pgid, None, running.gpus, workdir, running.remote)
            recorder = Recorder(lease, self._meters(planned), period_s=self._settings.tick_ms / 1000)
            recorder.start()
        except BaseException:
            running.kill()
            raise
        try:
            ended = wait_or_kill(running, stop)
        finally:
            recorder.close()
        recorded = self._gather(recorder, ended, workdir, planned, stopped=stop.is_set())
        where = platform_label() if running.remote is None else running.remote.platform
        return replace(recorded, samples=named_platform(recorded.samples, where))

    def _given_up(self, stop: threading.Event, latest: float = math.inf) -> GivenUp:
        """Whether this attempt need not begin: it was stopped, we stop, or it is too late."""
        return lambda: stop.is_set() or self._closing.is_set() or time.monotonic() > latest

    def _gather(
        self, recorder: Recorder, ended: Exit, workdir: Path, planned: Plan, *, stopped: bool
    ) -> Recorded:
        try:
            samples: Sequence[Sample] = recorder.end(ended)
        except RecordingFailed as failed:
            if ended.reason == "ok":
                raise AttemptLost(str(failed)) from failed
            samples = failed.samples  # enough to show a failure, which costs nothing
        if ended.reason == "killed":
            raise AttemptLost("stopped" if stopped else f"the job's supervisor ended it: {_tail(ended.log)}")
        if ended.reason == "failed":
            # A full disk of ours says nothing about the job.
            check_room(self._workroot, planned.template.limits.output_bytes)
        for note in recorder.notes():
            _log.info(
                "metering note",
                source=note.source,
                device=note.device,
                metric=note.metric,
                reason=note.reason,
            )
        result, output = Result(ended.code, ended.signal, ended.reason), b""
        if result.completed:
            try:
                output = read_output(workdir, min(planned.template.limits.output_bytes, MAX_OUTPUT_BYTES))
            except ResultInvalid as invalid:
                _log.warning("output refused", reason=str(invalid))
                result = Result(ended.code, ended.signal, "failed")
        return Recorded(ended, samples, result, output)

    # Evidence and receipt

    def _keep(self, job: JobRow, spec: JobSpec, planned: Plan, recorded: Recorded, state: JobState) -> None:
        completed = recorded.result.completed
        reports = self._reports.of(job, recorded.samples, state.nonce) if completed else ()
        sealed = seal(
            recorded.samples, result=recorded.result, attempt=job.attempt, sku=planned.sku,
            reports=[report.digest() for report in reports],
        )  # fmt: skip
        try:
            attempt = self._account(job, sealed, recorded, state)
            draft = make_receipt(self._facts.job_facts(job.terms, state), attempt)
        except (AttributionError, Refused, EvidenceInvalid) as problem:
            raise AttemptLost(str(problem)) from problem
        receipt = self._aim(draft.receipt, job.terms.class_id, level_of(reports))
        bundle = Bundle(
            chain_id=self._facts.chain.chain_id,
            market=self._facts.market,
            job_id=job.job_id,
            nonce=state.nonce,
            terms=job.terms,
            spec=spec,
            samples=sealed,
            output=recorded.output,
            result=recorded.result,
            receipt=receipt,
            simulated=attempt.usage.simulated,
            attempt=job.attempt,
            gpu_reports=reports,
        )
        self._evidence.put(bundle)
        reason = "" if recorded.result.completed else f"{recorded.result.reason}: {_tail(recorded.exit.log)}"
        self._store.move(
            job.job_id, State.METERED, reason, since=(State.EXECUTING,), receipt=receipt, tries=0,
            simulated=attempt.usage.simulated, exited_ms=recorded.exit.ended_wall_ms, not_before_ms=0,
        )  # fmt: skip
        _note_receipt(job, draft, attempt)

    def _account(self, job: JobRow, sealed: Sequence[Sample], recorded: Recorded, state: JobState) -> Attempt:
        usage = attribute(job.job_id, sealed)
        ended = recorded.exit
        wall_now = time.time_ns() // 1_000_000
        # The chain is at least where the job was opened, even if we last looked at its clock before.
        chain_now = max(self._facts.now(), state.opened_at)
        started_at, ended_at = anchor_interval(
            state.opened_at, chain_now, ended.started_wall_ms, ended.ended_wall_ms, wall_now
        )
        return Attempt(sealed, usage, recorded.result, recorded.output, started_at, ended_at)

    def _aim(self, receipt: Receipt, class_id: int, level: int) -> Receipt:
        """The receipt at the assurance we try for: `level` if watchers can be asked, otherwise as it is."""
        watched = self._desk.policy.watchers and self._facts.class_terms(class_id).watcher_set != 0
        if watched and receipt.outcome is Outcome.COMPLETED and receipt.assurance == TELEMETRY:
            return with_assurance(receipt, level)
        return receipt

    def _workdir(self, job_id: bytes, attempt: int) -> Path:
        return self._workroot / f"{job_id.hex()}-{attempt}"


def _tail(log: str) -> str:
    return " ".join(log.split())[-LOG_CHARS:]


def _note_receipt(job: JobRow, draft: Draft, attempt: Attempt) -> None:
    for cut in draft.cuts:
        _log.warning("units cut", job=job.label, by=cut.limit, metered=cut.claimed, charged=cut.allowed)
    _log.info(
        "metered", job=job.label, attempt=job.attempt, outcome=draft.receipt.outcome.name,
        units=draft.receipt.units, gpu_millijoules=draft.receipt.gpu_millijoules, energy=attempt.usage.energy,
        assurance=draft.receipt.assurance, simulated=attempt.usage.simulated,
    )  # fmt: skip
