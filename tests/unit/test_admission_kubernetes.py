"""Kubernetes' webhook on AdmissionReviews of full shape (tests/vectors/admission); its list of workloads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oracle.admission.api import kubernetes_app
from oracle.admission.keeper import Keeper
from oracle.admission.kubernetes import Listed, Webhook
from oracle.settings_admission import KubernetesAdmission
from oracle.store import Store
from scrip.types import Resource
from tests.unit.admission_factory import CPU, GPU, HOUR, JOB, OTHER, ToldOffice, chain_job, vector
from tests.unit.oracle_market import PAYER

HOLDER = "7d1f5a7e-5f0f-4d3e-8f0a-2a2f0f5c8a11"
SWEEP = "c8a0b6f2-7a5e-4c1d-9d0b-6b0a6e9f4d31"
GIVEN = KubernetesAdmission(
    cert=Path("c"), cert_key=Path("k"), namespaces={"team-a": (PAYER,)}, skus={"NVIDIA-H100-80GB-HBM3": GPU}
)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[ToldOffice]:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield ToldOffice(store)
    store.close()


@pytest.fixture
def client(office: ToldOffice) -> TestClient:
    return TestClient(kubernetes_app(Webhook(office, GIVEN, GPU, CPU)))


def ask(client: TestClient, review: dict[str, Any]) -> dict[str, Any]:
    """The response; every answer echoes the request's uid."""
    answer = client.post("/admission/validate?timeout=5s", json=review)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["apiVersion"], said["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert said["response"]["uid"] == review["request"]["uid"]
    found: dict[str, Any] = said["response"]
    return found


def why(response: dict[str, Any]) -> str:
    """What kubectl shows of a refusal."""
    assert response["allowed"] is False
    assert response["status"]["message"].startswith("scrip: ")
    return str(response["status"]["message"])


def spec(review: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = review["request"]["object"]["spec"]
    return found


# ---- create


def test_pod__paid__allowed_and_holds_its_job(client: TestClient, office: ToldOffice) -> None:
    assert ask(client, vector("pod_create")) == {
        "uid": "3f0c2a9e-1c2d-4b58-9a51-0b6c1f7f6a01",
        "allowed": True,
    }
    assert office.book.job_of("kubernetes", HOLDER) == JOB
    assert ask(client, vector("pod_create"))["allowed"], "the API server may ask again"


def test_pod__second_of_one_job__refused(client: TestClient) -> None:
    ask(client, vector("pod_create"))
    second = vector("pod_create")
    second["request"]["object"]["metadata"]["uid"] = "another"
    assert f"runs as kubernetes workload {HOLDER}" in why(ask(client, second))


def test_pod__dry_run__answered_without_a_trace(client: TestClient, office: ToldOffice) -> None:
    assert ask(client, vector("pod_create_dry_run"))["allowed"]
    assert office.book.held(JOB) is None


def test_pod__init_containers__the_most_that_runs_at_once_counts(
    client: TestClient, office: ToldOffice
) -> None:
    assert "2 GPU(s) are asked for, the job allows 1" in why(
        ask(client, vector("pod_create_init_containers"))
    )
    office.jobs = {JOB: chain_job(resources=2, max_units=2 * HOUR * 1_000)}
    assert ask(client, vector("pod_create_init_containers"))["allowed"]


def test_job__all_its_pods_count(client: TestClient, office: ToldOffice) -> None:
    assert "2 GPU(s) are asked for, the job allows 1" in why(ask(client, vector("job_create")))
    office.jobs = {JOB: chain_job(resources=2)}
    assert ask(client, vector("job_create"))["allowed"]
    assert office.book.job_of("kubernetes", SWEEP) == JOB


def test_pod_of_a_job__by_the_controller__part_of_the_job(client: TestClient, office: ToldOffice) -> None:
    assert "wasn't admitted" in why(ask(client, vector("job_pod_create")))
    office.jobs = {JOB: chain_job(resources=2)}
    ask(client, vector("job_create"))
    assert ask(client, vector("job_pod_create"))["allowed"]
    office.jobs = {}
    assert "no such job is open" in why(ask(client, vector("job_pod_create")))


def test_pod_of_a_job__by_somebody_else__a_workload_of_its_own(
    client: TestClient, office: ToldOffice
) -> None:
    office.jobs = {JOB: chain_job(resources=2)}
    ask(client, vector("job_create"))
    forged = vector("job_pod_create")
    forged["request"]["userInfo"] = vector("pod_create")["request"]["userInfo"]
    assert "Name yours: annotation scrip.dev/job" in why(ask(client, forged))


def test_pod__cpu_class__limits_count_to_the_thousandth(client: TestClient, office: ToldOffice) -> None:
    office.jobs = {
        JOB: chain_job(resource=Resource.CPU_SECOND, sku=CPU, resources=4, max_units=4 * HOUR * 1_000)
    }
    review = vector("pod_create")
    for limits in spec(review)["containers"][0]["resources"].values():
        del limits["nvidia.com/gpu"]
    limits = spec(review)["containers"][0]["resources"]["limits"]
    for given, said in (
        ("4001m", "4001m CPU(s) are asked for"),
        ("4.5", "4500m CPU(s)"),
        ("1e3", "must be like"),
    ):
        limits["cpu"] = given
        assert said in why(ask(client, review))
    del limits["cpu"]
    assert "nothing bounds the CPUs" in why(ask(client, review))
    limits["cpu"] = "3.5"
    assert ask(client, review)["allowed"]


def without_annotation(review: dict[str, Any]) -> None:
    review["request"]["object"]["metadata"]["annotations"] = None


def without_deadline(review: dict[str, Any]) -> None:
    del spec(review)["activeDeadlineSeconds"]


def longer(review: dict[str, Any]) -> None:
    spec(review)["activeDeadlineSeconds"] = HOUR + 1


def other_product(review: dict[str, Any]) -> None:
    spec(review)["nodeSelector"]["nvidia.com/gpu.product"] = "NVIDIA-B200"


def any_product(review: dict[str, Any]) -> None:
    del spec(review)["nodeSelector"]


def a_slice(review: dict[str, Any]) -> None:
    spec(review)["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] = "1"


def a_claim(review: dict[str, Any]) -> None:
    spec(review)["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]


def other_namespace(review: dict[str, Any]) -> None:
    review["request"]["namespace"] = "team-b"


def without_uid(review: dict[str, Any]) -> None:
    del review["request"]["object"]["metadata"]["uid"]


def odd_count(review: dict[str, Any]) -> None:
    spec(review)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1k"


def odd_spec(review: dict[str, Any]) -> None:
    spec(review)["containers"] = "none"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_annotation, "this namespace runs paid jobs only"),
        (without_deadline, "Set activeDeadlineSeconds"),
        (longer, "the job locks 3600000"),
        (other_product, "other hardware is asked for"),
        (any_product, "other hardware is asked for"),
        (a_slice, "nvidia.com/mig-1g.10gb isn't sold here"),
        (a_claim, "resourceClaims aren't sold here"),
        (other_namespace, "you may not run jobs of payer"),
        (without_uid, "must be a validating one"),
        (odd_count, "must be a whole number"),
        (odd_spec, "the Pod can't be read"),
    ],
)
def test_pod__more_or_other_than_paid__refused(
    client: TestClient, office: ToldOffice, change: Any, said: str
) -> None:
    review = vector("pod_create")
    change(review)
    assert said in why(ask(client, review))
    assert office.book.held(JOB) is None


def test_pod__chain_away__refused_as_unavailable(client: TestClient, office: ToldOffice) -> None:
    office.jobs = None
    response = ask(client, vector("pod_create"))
    assert "the chain can't be read now" in why(response)
    assert response["status"]["code"] == 503


def test_job__suspended__refused(client: TestClient, office: ToldOffice) -> None:
    office.jobs = {JOB: chain_job(resources=2)}
    review = vector("job_create")
    spec(review)["suspend"] = True
    assert "a suspended Job" in why(ask(client, review))


# ---- afterwards


def test_update__of_the_job_or_of_what_was_paid__refused(client: TestClient) -> None:
    assert "annotation scrip.dev/job can't be changed" in why(ask(client, vector("pod_update_job")))
    assert "stay as admitted" in why(ask(client, vector("job_update_parallelism")))


def test_update__of_anything_else__allowed_even_without_a_chain(
    client: TestClient, office: ToldOffice
) -> None:
    office.jobs = None
    assert ask(client, vector("pod_update_labels"))["allowed"]


def test_delete__always_allowed_and_releases_nothing_yet(client: TestClient, office: ToldOffice) -> None:
    ask(client, vector("pod_create"))
    office.jobs = None
    assert ask(client, vector("pod_delete"))["allowed"]
    assert office.book.job_of("kubernetes", HOLDER) == JOB, "it still runs, for as long as its grace period"


@pytest.mark.parametrize(
    "change", [{"apiVersion": "admission.k8s.io/v1beta1"}, {"kind": "Pod"}, {"request": {}}]
)
def test_review__of_another_form__an_error_on_which_the_api_server_refuses(
    client: TestClient, change: dict[str, Any]
) -> None:
    assert client.post("/admission/validate", json=vector("pod_create") | change).status_code == 422


# ---- the list of workloads


def listed(name: str, **status: Any) -> dict[str, Any]:
    """An item of `kubectl get -o json`."""
    found: dict[str, Any] = vector(name)["request"]["object"] | {"status": status}
    return found


def in_step(office: ToldOffice, *items: dict[str, Any]) -> list[str]:
    cluster = Listed(items, GIVEN)
    Keeper(office, cluster, 0)()
    return cluster.doomed


def test_listed__paid__stays_and_is_taken_up(office: ToldOffice) -> None:
    assert in_step(office, listed("pod_create", phase="Running")) == []
    assert office.book.job_of("kubernetes", HOLDER) == JOB


def test_listed__job_left_running__to_be_deleted(office: ToldOffice) -> None:
    office.jobs = {}
    assert in_step(office, listed("pod_create", phase="Running")) == ["--namespace=team-a pod/train"]


def test_listed__pods_of_a_listed_job__are_part_of_it(office: ToldOffice) -> None:
    items = (listed("job_create", active=1), listed("job_pod_create", phase="Running"))
    assert in_step(office, *items) == []
    assert office.book.job_of("kubernetes", SWEEP) == JOB
    assert in_step(office, items[1]) == ["--namespace=team-a pod/sweep-0-8k2xq"], "its Job is gone"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_listed__ended__released(office: ToldOffice, phase: str) -> None:
    in_step(office, listed("pod_create", phase="Running"))
    office.book.release(OTHER, "kubernetes", "")
    assert in_step(office, listed("pod_create", phase=phase)) == []
    assert office.book.held(JOB) is None


def test_listed__ended_job__released(office: ToldOffice) -> None:
    in_step(office, listed("job_create", active=1))
    done = [{"type": "Complete", "status": "True"}]
    assert in_step(office, listed("job_create", conditions=done)) == []
    assert office.book.held(JOB) is None


def test_listed__namespace_that_is_not_under_admission__let_be(office: ToldOffice) -> None:
    item = listed("pod_create", phase="Running")
    item["metadata"]["namespace"] = "kube-system"
    assert in_step(office, item) == []
