"""Metrics of admission: what is counted, and that the page names all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from oracle.admission.api import kubernetes_app, metrics_app
from oracle.admission.keeper import Keeper
from oracle.admission.kubernetes import Listed, Webhook
from oracle.settings_admission import KubernetesAdmission
from oracle.store import Store
from tests.unit.admission_factory import CPU, GPU, ToldOffice, vector
from tests.unit.oracle_market import PAYER

PAGE = Path(__file__).resolve().parents[2] / "docs" / "admission.md"
GIVEN = KubernetesAdmission(cert=Path("c"), cert_key=Path("k"), namespaces={"team-a": (PAYER,)})


@pytest.fixture
def office(tmp_path: Path) -> Iterator[ToldOffice]:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield ToldOffice(store)
    store.close()


def ask(office: ToldOffice, *names: str) -> None:
    with TestClient(kubernetes_app(Webhook(office, GIVEN, GPU, CPU))) as client:
        for name in names:
            client.post("/admission/validate", json=vector(name))


def value(office: ToldOffice, name: str, **labels: str) -> float:
    return office.metrics.registry.get_sample_value(name, {"system": "kubernetes"} | labels) or 0.0


def decided(office: ToldOffice, outcome: str, why: str = "") -> float:
    return value(office, "scrip_admission_decisions_total", outcome=outcome, why=why)


def test_decisions__by_outcome_and_why__timed(office: ToldOffice) -> None:
    ask(
        office,
        "pod_create_dry_run",
        "pod_create",
        "pod_create_init_containers",
        "pod_update_job",
        "pod_delete",
    )
    assert (decided(office, "dry"), decided(office, "admitted")) == (1, 1)
    assert (decided(office, "denied", "resource"), decided(office, "denied", "changed")) == (1, 1)
    assert value(office, "scrip_admission_seconds_count") == 4, "a DELETE is nothing to decide"
    office.jobs = None
    ask(office, "pod_create")
    assert decided(office, "denied", "unreadable") == 1


def test_held_and_evicted__as_the_store_and_the_comparison_say(office: ToldOffice) -> None:
    ask(office, "pod_create")
    assert value(office, "scrip_admission_held") == 1
    assert value(office, "scrip_admission_compared_unix_seconds") == 0
    office.jobs = {}
    Keeper(office, Listed([vector("pod_create")["request"]["object"]], GIVEN), 0)()
    assert value(office, "scrip_admission_evicted_total") == 1
    assert value(office, "scrip_admission_compared_unix_seconds") > 0


def test_page__names_every_metric(office: ToldOffice) -> None:
    ask(office, "pod_create")
    told = set(re.findall(r"`(scrip_admission_\w+)`", PAGE.read_text()))
    text = TestClient(metrics_app(office.metrics)).get("/metrics").text
    shown = re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE)
    assert told == {name for name, _ in shown if not name.endswith("_created")}
