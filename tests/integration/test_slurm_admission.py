"""A partition of a real Slurm in which only paid jobs run, jobs that real contracts know."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oracle.admission.check import findings
from oracle.admission.keeper import Keeper
from oracle.admission.serve import Admitting
from oracle.admission.slurm import SlurmCluster
from oracle.executors.base import EngineAway
from oracle.executors.slurm import SlurmQueue
from oracle.findings import Finding, Mark
from scrip.chain import Chain
from scrip.spec import JobSpec, spec_hash
from scrip.types import Status
from tests.integration.admission_place import UNITS, Place, admitting
from tests.integration.oracle_lab import catalogue_on, lab
from tests.integration.slurm_cluster import Slurm
from tests.integration.system import System, account
from tests.unit import job_probes as probes

SECONDS = 40.0
USER = pwd.getpwnam("games").pw_uid
STRANGER = pwd.getpwnam("news").pw_uid


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[Place]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield Place(made)


def settings_of(place: Place, slurm: Slurm, **more: Any) -> Any:
    given = {
        "socket": slurm.admission, "partitions": ("paid",), "users": {str(USER): (account("buyer").address,)},
        "skus": {"gpu:h100": "nvidia-h100-80gb", "gpu:a100": "nvidia-a100-80gb"}, **more,
    }  # fmt: skip
    made = place.settings(slurm=given, hold_s=5)
    return made.model_copy(update={"slurm": slurm.settings, "reconcile_s": 3_600})


@pytest.fixture
def node(place: Place, slurm: Slurm) -> Iterator[Admitting]:
    with admitting(settings_of(place, slurm)) as made:
        yield made
    probes.until(lambda: not ended(slurm), "the end of every workload", SECONDS)


def ended(slurm: Slurm) -> list[str]:
    """Ends every workload of the partition; those that are still there."""
    rows = slurm.run("squeue", "--noheader", "--partition=paid", "--format=%i").split()
    if rows:
        slurm.ask("scancel", *rows)
    return rows


def submit(
    slurm: Slurm, job: bytes | None, *more: str, uid: int | None = USER, partition: str = "paid"
) -> subprocess.CompletedProcess[str]:
    """sbatch of a minute of sleep on one GPU for an hour at most; options in `more` replace these."""
    comment = [] if job is None else [f"--comment=scrip:0x{job.hex()}"]
    return slurm.ask(
        "sbatch", "--parsable", f"--partition={partition}", *comment, "--time=60", "--gres=gpu:h100:1",
        "--output=/dev/null", "--chdir=/", *more, "--wrap=sleep 60", uid=uid,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What the user is told."""
    assert done.returncode != 0, done.stdout
    return done.stderr


def ticket(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(slurm: Slurm, workload: str) -> str:
    shown = slurm.run("scontrol", "show", "job", workload)
    return shown.split("JobState=", 1)[1].split()[0]


# ---- what `scrip oracle check` says


def checked(place: Place, slurm: Slurm, **more: Any) -> Finding:
    return {item.what: item for item in findings(settings_of(place, slurm, **more))}["Slurm filter"]


def test_check__of_a_real_slurm__filter_installed_or_what_is_missing(slurm: Slurm, place: Place) -> None:
    assert checked(place, slurm) == Finding("Slurm filter", Mark.OK, f"{slurm.folder} guards paid")
    left_out = checked(place, slurm, partitions=("paid", "work"))
    assert (left_out.mark, "leaves out work" in left_out.detail) == (Mark.FAIL, True)
    unknown = checked(place, slurm, partitions=("nowhere",))
    assert (unknown.mark, "scontrol failed" in unknown.detail) == (Mark.FAIL, True)


# ---- what is refused


def test_submit__no_job_named__refused_and_told_how(slurm: Slurm, node: Admitting) -> None:
    told = refused(submit(slurm, None))
    assert "this partition runs paid jobs only" in told
    assert "--comment=scrip:0x" in told


def test_submit__job_that_is_not_on_chain__refused(slurm: Slurm, node: Admitting) -> None:
    assert "no such job is open on chain" in refused(submit(slurm, b"\x07" * 32))


def test_submit__job_not_accepted_yet__refused(slurm: Slurm, node: Admitting, place: Place) -> None:
    assert "the job is open, must be running" in refused(submit(slurm, place.opened()))


def test_submit__payer_of_another_user__refused(slurm: Slurm, node: Admitting, place: Place) -> None:
    told = refused(submit(slurm, place.paid(), uid=STRANGER))
    assert f"you may not run jobs of payer {account('buyer').address}" in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--time=61"], "are 3660000 units, the job locks 3600000"),
        (["--gres=gpu:h100:2"], "2 GPU(s) are asked for, the job allows 1"),
        (["--gres=gpu:2"], "2 GPU(s) are asked for, the job allows 1"),
        (["--gres=none"], "none is asked for"),
        (["--nodes=2"], "2 GPU(s) are asked for, the job allows 1"),
        (["--gres=none", "--gpus=h100:2"], "2 GPU(s) are asked for, the job allows 1"),
        (["--gpus-per-task=h100:1", "--ntasks=2"], "in more than one way"),
        (["--gres=gpu:1"], "other hardware is asked for"),
        (["--array=0-9"], "a job array is many workloads"),
        (["--exclusive"], "--exclusive takes whole nodes"),
        (["--time=UNLIMITED"], "no time limit is given"),
        (["--comment=scrip:0x$(id)"], "comment holds characters that aren't allowed"),
        (["--comment=scrip:0x12'; id >/tmp/owned; '"], "comment holds characters that aren't allowed"),
    ],
)
def test_submit__more_or_other_than_paid__refused(
    slurm: Slurm, node: Admitting, place: Place, options: list[str], said: str
) -> None:
    assert said in refused(submit(slurm, place.paid(), *options))


def test_submit__node_down__refused_in_seconds(slurm: Slurm, place: Place) -> None:
    told = refused(submit(slurm, place.paid()))
    assert "the provider's node doesn't answer, so nothing runs here" in told


def test_submit__chain_away__refused_and_said_so(
    slurm: Slurm, node: Admitting, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = place.paid()
    monkeypatch.setattr(node.office.facts.chain.w3.provider, "endpoint_uri", "http://127.0.0.1:9/")
    assert "the chain can't be read now" in refused(submit(slurm, job))


def test_submit__node_down__other_partition_is_not_affected(slurm: Slurm, place: Place) -> None:
    workload = ticket(submit(slurm, None, uid=None, partition="work"))
    probes.until(lambda: state(slurm, workload) == "RUNNING", "its start", SECONDS)
    slurm.run("scancel", workload)


# ---- what runs


def test_submit__paid__runs_and_holds_its_job_until_it_ends(
    slurm: Slurm, node: Admitting, place: Place
) -> None:
    job = place.paid()
    first = ticket(submit(slurm, job))
    told = refused(submit(slurm, job))
    assert "one job pays for one workload at a time" in told
    probes.until(lambda: state(slurm, first) == "RUNNING", "its start", SECONDS)
    probes.until(lambda: node.office.book.job_of("slurm", first) == job, "its number", SECONDS)
    assert f"runs as slurm workload {first}" in refused(submit(slurm, job))
    slurm.run("scancel", first)
    probes.until(lambda: node.office.book.held(job) is None, "its release", SECONDS)
    ticket(submit(slurm, job))


def test_submit__by_the_daemon__its_own_executor_gets_through_and_waits_for_a_held_job(
    slurm: Slurm, node: Admitting, place: Place, tmp_path: Path
) -> None:
    from dataclasses import replace

    job = place.paid(place.terms(place.cpu_class))
    queue = SlurmQueue(slurm.settings.model_copy(update={"partition": "paid"}))
    work = replace(probes.work(tmp_path, "ok"), job_id=job, gpu_count=0)
    first = queue.submit(tmp_path, "exec sleep 60", work)
    assert list(queue.find(job)) == [first]
    with pytest.raises(EngineAway, match="temporarily unable to admit"):
        queue.submit(tmp_path, "exec sleep 60", work)
    assert list(queue.find(job)) == [first]


def test_submit__two_of_one_job_at_once__one_runs(slurm: Slurm, node: Admitting, place: Place) -> None:
    job = place.paid()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: submit(slurm, job), range(2)))
    assert sorted(one.returncode == 0 for one in done) == [False, True]


def test_provider__whose_engine_is_the_guarded_partition__settles(place: Place, slurm: Slurm) -> None:
    class_id = place.lab.system.create_class(min_assurance=1)
    buyer = place.lab.buy(class_id, UNITS)
    engine = slurm.settings.model_copy(update={"partition": "paid"})
    offer = {"catalogue": catalogue_on(place.lab.folder, "slurm")}
    settings = place.lab.provider_settings(provider=offer, slurm=engine.model_dump())
    admission = settings_of(place, slurm).admission
    with admitting(settings.model_copy(update={"admission": admission})) as node:
        place.lab.start("provider", settings)
        spec = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 2_000_000})
        terms = place.lab.terms(buyer, class_id, spec_hash=spec_hash(spec))
        job = place.lab.open(buyer, terms, place.lab.quote(terms, spec))
        place.lab.wait_for([job], Status.SETTLED)
        probes.until(lambda: node.office.book.held(job) is None, "its release", SECONDS)
    (end,) = [path for path in slurm.spool.glob("*.end") if job.hex() in path.read_text()]
    assert "Partition=paid" in slurm.run("scontrol", "show", "job", end.stem)


def test_update__of_what_was_paid__refused(slurm: Slurm, node: Admitting, place: Place) -> None:
    first = ticket(submit(slurm, place.paid(), "--hold"))
    other = place.paid()
    for change in (f"Comment=scrip:0x{other.hex()}", "TimeLimit=10", "Partition=work"):
        done = slurm.ask("scontrol", "update", f"JobId={first}", change, uid=USER)
        assert done.returncode != 0, change
    assert "Partition=paid" in slurm.run("scontrol", "show", "job", first)


def test_update__moved_in_from_another_partition__refused(slurm: Slurm, node: Admitting) -> None:
    free = ticket(submit(slurm, None, "--hold", partition="work"))
    done = slurm.ask("scontrol", "update", f"JobId={free}", "Partition=paid", uid=USER)
    assert done.returncode != 0
    assert "Partition=work" in slurm.run("scontrol", "show", "job", free)
    slurm.run("scancel", free)


# ---- when the job doesn't stay


def test_start__job_given_back_while_its_workload_waited__never_runs(
    slurm: Slurm, node: Admitting, place: Place
) -> None:
    terms = place.terms()
    waiting = ticket(submit(slurm, place.paid(terms), "--hold"))
    place.cancel(terms)
    slurm.run("scontrol", "release", waiting)
    probes.until(lambda: state(slurm, waiting) in ("CANCELLED", "FAILED"), "its end", SECONDS)
    assert not (slurm.spool / f"{waiting}.begin").exists(), "the node never heard of it"


def test_keeper__job_given_back_during_its_workload__cancelled(
    slurm: Slurm, node: Admitting, place: Place
) -> None:
    terms, kept = place.terms(), place.paid(place.terms(place.cpu_class))
    gone = ticket(submit(slurm, place.paid(terms)))
    stays = ticket(submit(slurm, kept, "--gres=none", uid=None))
    probes.until(lambda: {state(slurm, one) for one in (gone, stays)} == {"RUNNING"}, "both", SECONDS)
    place.cancel(terms)
    (keeper,) = node.keepers
    assert [workload for workload, _ in keeper().evict] == [gone]
    probes.until(lambda: state(slurm, gone) == "CANCELLED", "its end", SECONDS)
    assert state(slurm, stays) == "RUNNING"


def test_keeper__store_lost__takes_up_what_is_paid_and_ends_what_is_not(
    slurm: Slurm, place: Place, node: Admitting, tmp_path: Path
) -> None:
    job = place.paid()
    paid = ticket(submit(slurm, job))
    unpaid = ticket(submit(slurm, None, "--hold", uid=None, partition="work"))
    slurm.run("scontrol", "update", f"JobId={unpaid}", "Partition=paid")  # an administrator's override
    settings = settings_of(place, slurm).model_copy(update={"state_dir": tmp_path / "new"})
    fresh = Admitting(settings)
    steps = Keeper(fresh.office, SlurmCluster(settings), 5)()
    assert steps.evict == ((unpaid, "names no job"),)
    assert steps.bind == ((job, paid),)
    held = fresh.office.book.held(job)
    assert held is not None
    assert held.workload == paid


def test_keeper__submission_that_slurm_itself_refused__forgotten_after_the_hold(
    slurm: Slurm, node: Admitting, place: Place
) -> None:
    job = place.paid()
    assert "admitted" not in refused(submit(slurm, job, "--qos=nowhere", "--nodelist=nowhere"))
    held = node.office.book.held(job)
    assert held is not None
    assert held.workload == ""
    (keeper,) = node.keepers
    assert keeper().release == ()
    probes.until(lambda: keeper().release == ((job, ""),), "the end of the hold", SECONDS)
    ticket(submit(slurm, job))
