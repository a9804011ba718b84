"""Which jobs a provider takes: every reason to decline, with what was given and the limit; and the quotes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oracle import intake
from oracle.catalogue import Catalogue, SpecRefused
from oracle.facts import ClassFacts
from oracle.intake import Declined, Load, Policy, Why
from oracle.jobs.params import ArtefactSettings
from oracle.settings import ProviderSettings
from oracle.states import State
from scrip.eip712 import acceptance_digest, recover
from scrip.errors import BadInput
from scrip.spec import JobSpec, spec_hash
from scrip.types import ClassTerms, JobTerms, Resource, sku_id
from tests.unit.oracle_factory import SPEC, Lab, terms
from tests.unit.oracle_market import (
    CHAIN_ID,
    CPU_CLASS,
    GRANT_CLASS,
    MARKET,
    NOW,
    ORACLE,
    PAYER,
    PROVIDER,
    FakeMarket,
    cpu_class,
)

CATALOGUE = Catalogue.load()
GPU = "GPU-5c819000-0000-4000-8000-000000000000"
LLM = JobSpec("llm.generate", {"question": "Why?", "max_tokens": 16})
MATMUL = JobSpec("matmul.int8", {"seed": "0x" + "cd" * 32, "size": 64})
MODEL = "smollm2-135m-instruct-q4_1"


def policy(
    *, watchers: int = 0, simulated: bool = False, key: str = ORACLE.address, **provider: Any
) -> Policy:
    settings = ProviderSettings.model_validate({"address": PROVIDER, "gpu_sku": "h100", **provider})
    return Policy(settings, CATALOGUE, key, watchers, simulated)


def facts(class_terms: ClassTerms | None = None, **changes: Any) -> ClassFacts:
    made = ClassFacts(CPU_CLASS, class_terms or cpu_class(), 10**9, 10**9, False, ORACLE.address, 2)
    return replace(made, **changes)


def asked(spec: JobSpec = SPEC, **changes: Any) -> JobTerms:
    return terms(FakeMarket(), **{"spec_hash": spec_hash(spec), **changes})


def why(call: Any, *args: Any, **kwargs: Any) -> Why:
    with pytest.raises(Declined) as caught:
        call(*args, **kwargs)
    return caught.value.why


ARTEFACT = {"url": "https://data.example.org/a", "sha256": "ab" * 32, "size": 10**6}
MOVE = JobSpec("transfer", ARTEFACT)
ELSEWHERE = JobSpec("transfer", {**ARTEFACT, "url": "https://evil.org/a"})
KEEP = JobSpec("keep", {**ARTEFACT, "seconds": 600, "seed": "0x" + "cd" * 32})
FETCHING = ArtefactSettings(origins=["https://data.example.org"], timeout_s=9)
ORIGIN = Catalogue(
    {
        each.name: replace(
            each,
            settings=FETCHING if each.network else each.settings,
        )
        for each in CATALOGUE
    }
)
LINE_CLASS = cpu_class(resource=Resource.GB_TRANSFER, decimals=9, sku=sku_id("network"))
DISK_CLASS = cpu_class(resource=Resource.GB_HOUR, decimals=9, sku=sku_id("storage"))
LLM_CLASS = cpu_class(resource=Resource.OUTPUT_TOKEN, decimals=0, sku=sku_id(MODEL))
GPU_CLASS = cpu_class(resource=Resource.GPU_SECOND, sku=sku_id("h100"))


@pytest.mark.parametrize(
    ("expected", "job", "spec", "class_facts", "offer"),
    [
        (Why.PROVIDER, asked(provider=PAYER), SPEC, facts(), policy()),
        (Why.SPEC, asked(LLM), SPEC, facts(), policy()),
        (Why.SPEC, asked(JobSpec("rm", {})), JobSpec("rm", {}), facts(), policy()),
        (Why.SPEC, asked(JobSpec("hash.chain", {})), JobSpec("hash.chain", {}), facts(), policy()),
        (Why.CLASS, asked(), SPEC, facts(), policy(classes=[77])),
        (Why.CLASS, asked(), SPEC, facts(wound_down=True), policy()),
        (Why.CLASS, asked(), SPEC, facts(oracle=None), policy()),
        (Why.PROVIDER, asked(), SPEC, facts(oracle=PAYER), policy()),
        (Why.UNPAID, asked(), SPEC, facts(backing=0), policy()),
        (Why.UNPAID, asked(), SPEC, facts(supply=0), policy()),
        (Why.RESOURCE, asked(), SPEC, facts(LLM_CLASS), policy()),
        (Why.SKU, asked(), SPEC, facts(cpu_class(sku=sku_id("epyc"))), policy()),
        (Why.SKU, asked(LLM), LLM, facts(replace(LLM_CLASS, sku=sku_id("llama"))), policy()),
        (Why.CAPACITY, asked(MATMUL), MATMUL, facts(GPU_CLASS), policy()),
        (Why.RESOURCE, asked(MATMUL, resources=0), MATMUL, facts(GPU_CLASS), policy(gpus=[GPU])),
        (Why.ASSURANCE, asked(), SPEC, facts(cpu_class(min_assurance=2, watcher_set=1)), policy()),
        (
            Why.ASSURANCE,
            asked(),
            SPEC,
            facts(cpu_class(min_assurance=3, watcher_set=1)),
            policy(watchers=2),
        ),
        (Why.ASSURANCE, asked(), SPEC, facts(cpu_class(min_assurance=2), threshold=3), policy(watchers=2)),
        (Why.ASSURANCE, asked(MATMUL), MATMUL, facts(GPU_CLASS), policy(gpus=[GPU], simulated=True)),
        (Why.UNITS, asked(max_units=999), SPEC, facts(), policy()),
        (Why.UNITS, asked(LLM, max_units=15), LLM, facts(LLM_CLASS), policy()),
    ],
)
def test_plan__what_is_wrong__is_named(
    expected: Why, job: JobTerms, spec: JobSpec, class_facts: ClassFacts, offer: Policy
) -> None:
    assert why(intake.plan, job, spec, class_facts, offer) is expected


def fetching(**provider: Any) -> Policy:
    return replace(policy(**provider), catalogue=ORIGIN)


@pytest.mark.parametrize(
    ("expected", "units", "spec", "class_terms", "offer"),
    [
        (Why.SPEC, 10**9, MOVE, LINE_CLASS, policy()),  # no origin is allowed unless one is named
        (Why.SPEC, 10**9, ELSEWHERE, LINE_CLASS, fetching()),
        (Why.RESOURCE, 10**9, MOVE, DISK_CLASS, fetching()),
        (Why.SKU, 10**9, MOVE, LINE_CLASS, fetching(network_sku="dial-up")),
        (Why.SKU, 10**9, KEEP, DISK_CLASS, fetching(storage_sku="tape")),
        (Why.UNITS, 10**6 - 1, MOVE, LINE_CLASS, fetching()),
        (Why.UNITS, 166_666, KEEP, DISK_CLASS, fetching()),
    ],
)
def test_plan__content__what_is_wrong_is_named(
    expected: Why, units: int, spec: JobSpec, class_terms: ClassTerms, offer: Policy
) -> None:
    assert why(intake.plan, asked(spec, max_units=units), spec, facts(class_terms), offer) is expected


def test_plan__content__is_paid_by_size_and_time_kept() -> None:
    moving = intake.plan(asked(MOVE, max_units=10**6), MOVE, facts(LINE_CLASS), fetching())
    keeping = intake.plan(asked(KEEP, max_units=166_667), KEEP, facts(DISK_CLASS), fetching())
    assert (moving.sku, keeping.sku) == ("network", "storage")
    assert (moving.seconds, keeping.seconds) == (300, 660)


def test_plan__fitting_job__says_how_it_runs() -> None:
    plan = intake.plan(asked(), SPEC, facts(), policy())
    assert (plan.template.name, plan.sku, plan.gpus, plan.seconds) == ("hash.chain", "cpu", 0, 20)


def test_plan__units_for_less_time__shorten_the_limit_and_never_lengthen_it() -> None:
    assert intake.plan(asked(max_units=3_999), SPEC, facts(), policy()).seconds == 3
    assert intake.plan(asked(max_units=10**9), SPEC, facts(), policy()).seconds == 180


def test_plan__tokens__are_sealed_with_the_model_and_gpus_with_theirs() -> None:
    plan = intake.plan(asked(LLM, max_units=16), LLM, facts(LLM_CLASS), policy())
    assert (plan.sku, plan.gpus, plan.seconds) == (MODEL, 0, 180)
    plan = intake.plan(asked(MATMUL), MATMUL, facts(GPU_CLASS), policy(gpus=[GPU]))
    assert (plan.sku, plan.gpus) == ("h100", 1)


def test_plan__listed_class_without_backing__is_served() -> None:
    assert intake.plan(asked(), SPEC, facts(backing=0), policy(classes=[CPU_CLASS]))


def test_plan__taken_job_of_a_closed_class__still_runs() -> None:
    assert intake.plan(asked(), SPEC, facts(wound_down=True, oracle=None, backing=0), policy(), taken=True)


@pytest.mark.parametrize(
    ("to_accept", "accept_in", "submit_in"), [(True, 4, 900), (True, 60, 30), (False, 0, 30)]
)
def test_check_time__too_little_left__is_declined(to_accept: bool, accept_in: int, submit_in: int) -> None:
    job = asked(accept_by=NOW + accept_in, submit_by=NOW + submit_in)
    plan = intake.plan(job, SPEC, facts(), policy())
    assert why(intake.check_time, job, plan, policy(), NOW, to_accept=to_accept) is Why.DEADLINE


def test_check_time__job_that_is_ours__needs_no_accept_by() -> None:
    job = asked(accept_by=NOW - 100)
    intake.check_time(job, intake.plan(job, SPEC, facts(), policy()), policy(), NOW, to_accept=False)


def test_check_quote__far_ahead_or_beyond_the_balance__is_declined() -> None:
    assert why(intake.check_quote, asked(accept_by=NOW + 601), policy(), NOW, 10**9, Load(0)) is Why.DEADLINE
    assert why(intake.check_quote, asked(), policy(), NOW, 19_999, Load(0)) is Why.BALANCE
    assert (
        why(intake.check_quote, asked(), policy(), NOW, 30_000, Load(0, quoted_units=10_001)) is Why.BALANCE
    )
    intake.check_quote(asked(), policy(), NOW, 20_000, Load(0))


def test_check_load__all_places_taken__is_declined_for_now() -> None:
    with pytest.raises(Declined) as caught:
        intake.check_load(Load(3), policy(slots=1, queue=2))
    assert caught.value.passing
    assert (caught.value.given, caught.value.limit) == ("3 taken", "3 places")
    intake.check_load(Load(2), policy(slots=1, queue=2))


# The desk


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    yield made
    made.close()


def test_quote__fitting_job__is_our_signature_over_its_acceptance(lab: Lab) -> None:
    node = lab.start()
    made = node.desk.quote(terms(lab.market), SPEC)
    assert recover(acceptance_digest(made.job_id, CHAIN_ID, MARKET), made.signature) == ORACLE.address
    row = node.store.job(made.job_id)
    assert (row.at, row.quote) == (State.QUOTED, made.signature)
    assert node.store.spec(spec_hash(SPEC)) == SPEC


def test_quote__asked_again__is_the_same_and_takes_one_place(lab: Lab) -> None:
    node = lab.start(slots=1, queue=0)
    assert node.desk.quote(terms(lab.market), SPEC) == node.desk.quote(terms(lab.market), SPEC)
    assert node.desk.load().taken == 1


def test_quote__many_at_once_for_one_place__one_is_signed(lab: Lab) -> None:
    node = lab.start(slots=1, queue=0)
    signed, declined, barrier = [], [], threading.Barrier(8)

    def ask(salt: int) -> None:
        barrier.wait()
        try:
            signed.append(node.desk.quote(terms(lab.market, salt=salt), SPEC))
        except Declined as error:
            declined.append(error.why)

    threads = [threading.Thread(target=ask, args=(salt,)) for salt in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signed) == 1
    assert declined == [Why.CAPACITY] * 7


def test_quote__balance_promised_twice__is_declined(lab: Lab) -> None:
    node = lab.start()
    lab.market.balances[PAYER] = 30_000
    node.desk.quote(terms(lab.market), SPEC)
    assert why(node.desk.quote, terms(lab.market, salt=2), SPEC) is Why.BALANCE


def test_quote__job_on_chain_already__is_declined(lab: Lab) -> None:
    node = lab.start()
    job = lab.market.open(terms(lab.market))
    node.until(lambda: node.at(job))
    assert why(node.desk.quote, terms(lab.market), SPEC) is Why.DEADLINE


def test_quote__granted_class__is_declined_unless_listed(lab: Lab) -> None:
    node = lab.start()
    assert why(node.desk.quote, terms(lab.market, class_id=GRANT_CLASS), SPEC) is Why.UNPAID


def test_keep_spec__wrong_hash_or_template__is_refused(lab: Lab) -> None:
    node = lab.start()
    with pytest.raises(BadInput, match="spec"):
        node.desk.keep_spec(b"\0" * 32, SPEC)
    odd = JobSpec("shell", {"command": "id"})
    with pytest.raises(SpecRefused):
        node.desk.keep_spec(spec_hash(odd), odd)
    assert node.store.spec(spec_hash(odd)) is None


def test_consider__class_that_fits_nobody__is_cancelled_with_the_reason(lab: Lab) -> None:
    node = lab.start()
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    job = lab.market.open(terms(lab.market, class_id=GRANT_CLASS))
    node.until_at(job, State.CANCELLED)
    assert "backing" in node.store.job(job).reason
