"""The rule of admission, who holds a job, and what brings workloads and jobs in step."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.admission.book import Admission
from oracle.admission.keeper import Keeper, Live, compare
from oracle.admission.rule import ChainJob, Claim, Denied, Held, System, Why, admit
from oracle.admission.slurm import UNSET, Asked, Terms
from oracle.settings import Settings, SettingsProblem
from oracle.store import Store
from scrip.types import Resource, Status, sku_id
from tests.unit.admission_factory import CPU, GPU, HOUR, JOB, NOW, OTHER, ToldOffice, chain_job, claim
from tests.unit.oracle_market import PAYER, PROVIDER

STRANGER = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
CPU_JOB: dict[str, Any] = {"resource": Resource.CPU_SECOND, "sku": CPU}


def decide(
    asked: Claim, job: ChainJob | None, held: Held | None = None, now: int = NOW, *, started: bool = False
) -> Why | None:
    """Why not, None if admitted."""
    try:
        admit(asked, job, held, PROVIDER, now, started=started)
    except Denied as denied:
        return denied.why
    return None


@pytest.mark.parametrize(
    ("asked", "job", "why"),
    [
        (claim(), None, Why.JOB),
        (claim(), chain_job(provider=STRANGER), Why.PROVIDER),
        (claim(), chain_job(Status.OPEN), Why.STATUS),
        (claim(), chain_job(Status.SUBMITTED), Why.STATUS),
        (claim(), chain_job(Status.CANCELLED), Why.STATUS),
        (claim(), chain_job(submit_by=NOW), Why.DEADLINE),
        (claim(), chain_job(submit_by=NOW + HOUR - 1), Why.DEADLINE),
        (claim(payers=frozenset()), chain_job(), Why.USER),
        (claim(payers=frozenset({STRANGER})), chain_job(), Why.USER),
        (claim(gpus=0), chain_job(), Why.RESOURCE),
        (claim(gpus=2), chain_job(max_units=10**9), Why.RESOURCE),
        (claim(), chain_job(resource=Resource.CPU_SECOND), Why.RESOURCE),
        (claim(payers=None), chain_job(**CPU_JOB), Why.RESOURCE),
        (claim(gpus=0), chain_job(**CPU_JOB), Why.RESOURCE),
        (claim(gpus=0, cpu_milli=1_001), chain_job(**CPU_JOB), Why.RESOURCE),
        (claim(gpus=0, cpu_milli=1_000), chain_job(resource=Resource.OUTPUT_TOKEN), Why.RESOURCE),
        (claim(sku=sku_id("nvidia-a100-80gb")), chain_job(), Why.SKU),
        (claim(sku=None), chain_job(), Why.SKU),
        (claim(seconds=HOUR + 1), chain_job(), Why.UNITS),
        (claim(), chain_job(max_units=HOUR * 1_000 - 1), Why.UNITS),
        (claim(payers=None, slack_s=240, seconds=HOUR + 241), chain_job(), Why.UNITS),
    ],
)
def test_admit__what_is_not_paid__denied(asked: Claim, job: ChainJob | None, why: Why) -> None:
    assert decide(asked, job) is why


@pytest.mark.parametrize(
    ("asked", "job"),
    [
        (claim(), chain_job()),
        (claim(gpus=2, seconds=HOUR // 2), chain_job(resources=2)),
        (claim(gpus=0, cpu_milli=500, sku=sku_id(CPU)), chain_job(**CPU_JOB)),
        (claim(payers=None, gpus=0, sku=sku_id(CPU)), chain_job(**CPU_JOB)),
        (claim(payers=None, seconds=HOUR + 240, slack_s=240), chain_job()),
        (claim(payers=None, gpus=0, sku=sku_id("m")), chain_job(resource=Resource.OUTPUT_TOKEN, sku="m")),
    ],
)
def test_admit__what_is_paid__admitted(asked: Claim, job: ChainJob) -> None:
    assert decide(asked, job) is None


@given(st.integers(1, 64), st.integers(1, 10**6), st.integers(1, 64), st.integers(1, 10**11))
def test_admit__any_request__never_more_than_was_locked(
    gpus: int, seconds: int, resources: int, units: int
) -> None:
    job = chain_job(resources=resources, max_units=units, submit_by=NOW + 10**6)
    fits = gpus <= resources and gpus * seconds * 1_000 <= units
    assert (decide(claim(gpus=gpus, seconds=seconds), job) is None) == fits


@pytest.mark.parametrize(
    ("asked", "held", "why"),
    [
        (claim(), Held("slurm", ""), Why.HELD),
        (claim(), Held("slurm", "12"), Why.HELD),
        (claim(workload="13"), Held("slurm", "12"), Why.HELD),
        (claim(workload="12"), Held("slurm", "12"), None),
        (claim(workload="12"), Held("slurm", ""), None),
        (claim(system="kubernetes", workload="12"), Held("slurm", "12"), Why.HELD),
        (claim(system="kubernetes", workload="12"), Held("slurm", ""), Why.HELD),
    ],
)
def test_admit__job_that_is_held__for_the_same_workload_only(
    asked: Claim, held: Held, why: Why | None
) -> None:
    assert decide(asked, chain_job(), held) is why


def test_admit__as_it_starts__asks_only_what_may_have_changed() -> None:
    edge = Claim("slurm", JOB, "12", 0, None, 0, None, None)
    assert decide(edge, chain_job(), Held("slurm", ""), started=True) is None
    assert decide(edge, chain_job(), Held("slurm", ""), NOW + 2 * HOUR, started=True) is Why.DEADLINE


# ---- who holds a job


@pytest.fixture
def office(database_url: str) -> Iterator[ToldOffice]:
    store = Store.open(database_url)
    yield ToldOffice(store)
    store.close()


def test_office__two_workloads_at_once__exactly_one_is_admitted(office: ToldOffice) -> None:
    def ask(number: int) -> bool:
        try:
            office.admit(claim(system="kubernetes", workload=f"uid-{number}"))
        except Denied:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(16))) == 1


def test_office__same_workload_again__admitted_again(office: ToldOffice) -> None:
    for _ in range(2):
        office.admit(claim(workload="12"))
    assert office.book.job_of("slurm", "12") == JOB


def test_office__dry__holds_nothing_and_sees_who_does(office: ToldOffice) -> None:
    office.admit(claim(workload="12"), dry=True)
    assert office.book.held(JOB) is None
    office.admit(claim(workload="12"))
    with pytest.raises(Denied, match="one job pays for one workload"):
        office.admit(claim(workload="13"), dry=True)


def test_office__chain_away__denied_and_holds_nothing(office: ToldOffice) -> None:
    office.jobs = None
    with pytest.raises(Denied, match="the chain can't be read now") as caught:
        office.admit(claim())
    assert caught.value.passing
    assert office.book.held(JOB) is None


def test_office__store_away__denied(office: ToldOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def broken(*_: object) -> None:
        raise OperationalError("", None, Exception("disk"))

    monkeypatch.setattr(office.book, "hold", broken)
    with pytest.raises(Denied, match="the node's store can't be read now"):
        office.admit(claim())


def test_release__by_another_workload__keeps_it(office: ToldOffice) -> None:
    office.admit(claim(workload="12"))
    assert not office.release(claim(workload="13"))
    assert office.release(claim(workload="12"))
    office.admit(claim(workload="13"))


# ---- workloads and jobs in step


def steps(live: list[Live], held: dict[bytes, Admission], since_ms: int = 100, **jobs: ChainJob) -> Any:
    known: dict[bytes, ChainJob | None] = {JOB: chain_job(), OTHER: None}
    return compare(live, known, held, "slurm", PROVIDER, NOW, since_ms)


def test_compare__in_step__nothing_to_do() -> None:
    found = steps([Live("1", JOB)], {JOB: Admission("slurm", "1", 5)})
    assert (found.bind, found.release, found.evict) == ((), (), ())


def test_compare__unpaid_unknown_and_second__evicted() -> None:
    live = [Live("1", JOB), Live("2", JOB), Live("3", None), Live("4", OTHER)]
    found = steps(live, {JOB: Admission("slurm", "1", 5)})
    assert [workload for workload, _ in found.evict] == ["2", "3", "4"]


def test_compare__second_listed_before_the_holder__the_holder_stays() -> None:
    found = steps([Live("0", JOB), Live("1", JOB)], {JOB: Admission("slurm", "1", 5)})
    assert [workload for workload, _ in found.evict] == ["0"]


def test_compare__job_that_pays_for_a_workload_elsewhere__evicted() -> None:
    found = steps([Live("1", JOB)], {JOB: Admission("kubernetes", "uid", 5)})
    assert (found.bind, found.release) == ((), ())
    assert [workload for workload, _ in found.evict] == ["1"]


def test_bind__somebody_was_faster__left_as_it_is(office: ToldOffice) -> None:
    before = office.book.held(JOB)
    office.admit(claim())
    assert not office.book.bind(JOB, "slurm", "1", before)
    assert office.book.bind(JOB, "slurm", "1", office.book.held(JOB))
    assert office.book.job_of("slurm", "1") == JOB


def test_compare__not_noted_or_noted_without_a_number__noted() -> None:
    assert steps([Live("1", JOB)], {}).bind == ((JOB, "1"),)
    assert steps([Live("1", JOB)], {JOB: Admission("slurm", "", 5)}).bind == ((JOB, "1"),)
    assert steps([Live("2", JOB)], {JOB: Admission("slurm", "1", 5)}).bind == ((JOB, "2"),)


def test_compare__ended__released_unless_too_new_to_be_listed() -> None:
    held = {JOB: Admission("slurm", "1", 99), OTHER: Admission("slurm", "", 100)}
    assert steps([], held).release == ((JOB, "1"),)


class Listing:
    """A cluster that lists what it is told."""

    system: System = "slurm"

    def __init__(self) -> None:
        self.rows: list[Live] = []
        self.evicted: list[str] = []

    def live(self) -> list[Live]:
        return self.rows

    def evict(self, workload: str) -> None:
        self.evicted.append(workload)


def test_keeper__chain_away__ends_and_releases_nothing(office: ToldOffice) -> None:
    office.admit(claim(workload="1"))
    cluster = Listing()
    cluster.rows, office.jobs = [Live("1", JOB), Live("2", None)], None
    keeper = Keeper(office, cluster, 0)
    keeper.quietly()
    assert cluster.evicted == []
    assert office.book.job_of("slurm", "1") == JOB


# ---- what Slurm's filter asks


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    return Terms(settings(tmp_path, {"socket": tmp_path / "s", "partitions": ["gpu"], "daemon_uid": 900,
        "users": {"1001": [PAYER]}, "skus": {"gpu:h100": GPU}}))  # fmt: skip


def settings(folder: Path, slurm: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {
            "role": "provider", "state_dir": folder, "chain": {"rpc_url": "http://127.0.0.1", "chain_id": 1},
            "provider": {"address": PROVIDER}, "admission": {"slurm": slurm},
        }
    )  # fmt: skip


def asked(**changes: Any) -> Asked:
    given: dict[str, Any] = {
        "comment": f"scrip:0x{JOB.hex()}", "uid": 1001, "minutes": 60, "nodes": 1, "tasks": 1,
        "shared": 65534,
    }  # fmt: skip
    return Asked(**given | changes)


@pytest.mark.parametrize(
    "text", ["gres:gpu:h100:2", "gpu:h100:2", "gres/gpu:h100=2", "gres:gpu:h100:1,gpu:h100:1"]
)
def test_claim__every_way_to_write_gpus__is_read(terms: Terms, text: str) -> None:
    found = terms.claim(asked(per_node=text))
    assert (found.gpus, found.sku, found.seconds) == (2, sku_id(GPU), HOUR)


def test_claim__several_nodes_and_tasks__counted_in_full(terms: Terms) -> None:
    assert terms.claim(asked(per_node="gpu:h100:2", nodes=3)).gpus == 6
    assert terms.claim(asked(per_task="gpu:h100:2", tasks=4)).gpus == 8
    assert terms.claim(asked(per_job="gpu:h100:2", nodes=3)).gpus == 2


def test_claim__users__have_their_payers_and_the_daemon_none(terms: Terms) -> None:
    assert terms.claim(asked()).payers == {PAYER}
    assert terms.claim(asked(uid=0)).payers == frozenset()
    own = terms.claim(asked(uid=900))
    assert (own.payers, own.slack_s > 0) == (None, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"comment": ""},
        {"comment": "scrip:0x12"},
        {"comment": f"scrip:0x{JOB.hex()}0"},
        {"comment": f"scrip:0x{JOB.hex()}\n"},
        {"minutes": UNSET},
        {"minutes": UNSET + 1},
        {"array": "0-1"},
        {"shared": 0},
        {"per_node": "shard:1"},
        {"per_node": "gpu:h100:1,mps:50"},
        {"per_node": "gpu:h100:1,gpu:a100:1"},
        {"per_node": "gpu:h100:2K"},
        {"per_node": "gpu:h100:1", "per_job": "gpu:h100:1"},
        {"per_socket": "gpu:h100:1"},
        {"per_node": "gpu:h100:1", "nodes": UNSET},
    ],
)
def test_claim__what_cannot_be_bounded__denied(terms: Terms, changes: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        terms.claim(asked(**changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[admission]\nhold_s = 30", "needs admission.slurm or admission.kubernetes"),
        ('[admission.slurm]\nsocket = "s"\npartitions = []', "admission.slurm.partitions"),
        (
            '[admission.slurm]\nsocket = "s"\npartitions = ["p"]\n[admission.slurm.users]\nada = []',
            "must be a user number",
        ),
    ],
)
def test_settings__wrong__said(tmp_path: Path, text: str, said: str) -> None:
    head = f'role = "provider"\nstate_dir = "s"\n[provider]\naddress = "{PROVIDER}"\n'
    chain = '[chain]\nrpc_url = "http://127.0.0.1:1"\nchain_id = 1\n'
    path = tmp_path / "node.toml"
    path.write_text(head + chain + text + "\n")
    with pytest.raises(SettingsProblem, match=said):
        Settings.load(path, {})
