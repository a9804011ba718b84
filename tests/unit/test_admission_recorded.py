"""The webhook on AdmissionReviews that a real API server sent (tests/vectors/admission/README.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oracle.admission.api import kubernetes_app
from oracle.admission.kubernetes import Webhook
from oracle.settings_admission import KubernetesAdmission
from oracle.store import Store
from tests.unit.admission_factory import CPU, GPU, HOUR, JOB, VECTORS, ToldOffice, chain_job, vector
from tests.unit.oracle_market import PAYER

RECORDED = sorted(path.stem for path in (VECTORS / "recorded").glob("*.json"))
BY_HAND = sorted(path.stem for path in VECTORS.glob("*.json"))
GIVEN = KubernetesAdmission(
    cert=Path("c"), cert_key=Path("k"), namespaces={"team-a": (PAYER,)}, skus={"NVIDIA-H100-80GB-HBM3": GPU}
)
WIDE = {JOB: chain_job(resources=2, max_units=2 * HOUR * 1_000)}
ALLOWED = {
    "pod_create", "pod_create_dry_run", "pod_create_generate_name", "pod_update_labels", "pod_delete",
    "pod_update_ephemeral_containers", "pod_connect_exec", "job_delete",
    "deployment_create", "deployment_update",
}  # fmt: skip
"""For a job of one GPU. A Deployment is nothing to decide: each of its pods is."""
REFUSED = {
    "pod_create_unpaid": "this namespace runs paid jobs only",
    "pod_create_init_containers": "2 GPU(s) are asked for, the job allows 1",
    "pod_update_job": "annotation scrip.dev/job can't be changed",
    "job_create": "2 GPU(s) are asked for, the job allows 1",
    "job_pod_create": "that owns this pod wasn't admitted",
    "job_update_parallelism": "stay as admitted",
    "deployment_pod_create": "Set activeDeadlineSeconds",
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[ToldOffice]:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield ToldOffice(store)
    store.close()


def ask(office: ToldOffice, name: str) -> tuple[bool, str]:
    """Whether it is allowed, and why not."""
    with TestClient(kubernetes_app(Webhook(office, GIVEN, GPU, CPU))) as client:
        answer = client.post("/admission/validate?timeout=10s", json=recorded(name))
    assert answer.status_code == 200, answer.text
    response = answer.json()["response"]
    assert response["uid"] == recorded(name)["request"]["uid"]
    return response["allowed"], response.get("status", {}).get("message", "")


def recorded(name: str) -> dict[str, Any]:
    return vector(f"recorded/{name}")


def test_recordings__every_one_has_an_expected_answer() -> None:
    assert set(RECORDED) == ALLOWED | set(REFUSED)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_recorded__in_order__allowed(office: ToldOffice, name: str) -> None:
    assert ask(office, name) == (True, "")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_recorded__not_paid__refused(office: ToldOffice, name: str) -> None:
    allowed, said = ask(office, name)
    assert not allowed
    assert REFUSED[name] in said


def test_recorded__pod__holds_its_job_by_its_uid_and_a_dry_one_does_not(office: ToldOffice) -> None:
    ask(office, "pod_create_dry_run")
    assert office.book.held(JOB) is None
    ask(office, "pod_create")
    uid = recorded("pod_create")["request"]["object"]["metadata"]["uid"]
    assert office.book.job_of("kubernetes", uid) == JOB
    assert ask(office, "pod_create_generate_name")[0] is False, "one job pays for one workload"


def test_recorded__job__and_the_pod_that_its_controller_made_then(office: ToldOffice) -> None:
    office.jobs = WIDE
    assert ask(office, "job_create") == (True, "")
    assert ask(office, "job_pod_create") == (True, "")


def test_recorded__chain_away__only_what_asks_for_nothing_new_goes_on(office: ToldOffice) -> None:
    office.jobs = None
    assert not ask(office, "pod_create")[0]
    for name in ("pod_update_labels", "pod_delete", "pod_connect_exec", "job_delete"):
        assert ask(office, name)[0], name


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand__envelope_is_that_of_the_recording(name: str) -> None:
    written, real = vector(name), recorded(name)
    assert set(written) == set(real) == {"kind", "apiVersion", "request"}
    mine, theirs = written["request"], real["request"]
    assert set(mine) == set(theirs)
    for key in ("kind", "resource", "requestKind", "requestResource", "operation", "namespace", "dryRun"):
        assert mine[key] == theirs[key], key
    assert set(theirs["userInfo"]) <= set(mine["userInfo"]) <= {"username", "uid", "groups", "extra"}
    assert set(theirs["options"]) <= set(mine["options"]) | {"fieldManager"}
    for key in ("object", "oldObject"):
        assert (mine[key] is None) is (theirs[key] is None)
        if mine[key] is not None:
            assert set(mine[key]) == set(theirs[key]) == {"kind", "apiVersion", "metadata", "spec", "status"}
            for needed in ("name", "namespace", "uid", "creationTimestamp"):
                assert mine[key]["metadata"][needed]
            assert ("resourceVersion" in mine[key]["metadata"]) is (mine["operation"] != "CREATE")
