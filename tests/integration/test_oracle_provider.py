"""A provider's daemon on real contracts that mine at once: jobs settle once, to the last unit, across
restarts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from eth_utils.crypto import keccak

from oracle.catalogue import DEFAULT_FILE
from oracle.daemon import build
from oracle.node import NodeProblem
from oracle.states import State
from oracle.store import Store
from scrip import redeem
from scrip.chain import Chain
from scrip.eip712_watchers import verdict_digest
from scrip.errors import WrongChain
from scrip.evidence import Bundle, verify_bundle
from scrip.redeem import Plan
from scrip.sender import Sender
from scrip.spec import JobSpec, spec_hash
from scrip.types import Fault, JobState, JobTerms, Outcome, Receipt, Resource, Status, Verdict, sku_id
from tests.integration.oracle_lab import SPEC, OracleLab, lab
from tests.integration.system import REGION, System, account, signed

UNITS = 1_000_000


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def class_id(place: OracleLab) -> int:
    return place.system.create_class(min_assurance=1)


@pytest.fixture
def buyer(place: OracleLab, class_id: int) -> Sender:
    return place.buy(class_id, UNITS)


def test_start__key_that_is_not_registered__is_a_clear_refusal(place: OracleLab) -> None:
    place.system.send(
        "ProviderRegistry", "update", account("other").address, REGION, "", sender=place.provider
    )
    with pytest.raises(NodeProblem, match="the registry names"):
        build(place.provider_settings())


def test_start__other_chain_behind_the_url__is_refused(place: OracleLab) -> None:
    settings = place.provider_settings()
    deployment = place.folder / "deployments" / "31337.json"
    (place.folder / "deployments" / "1337.json").write_text(deployment.read_text().replace("31337", "1337"))
    wrong = settings.model_copy(update={"chain": settings.chain.model_copy(update={"chain_id": 1337})})
    with pytest.raises(WrongChain):
        build(wrong)


def test_open__with_a_quote__settles_to_the_last_unit(place: OracleLab, class_id: int, buyer: Sender) -> None:
    place.start("provider", place.provider_settings())
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.SETTLED)
    receipt, view = Receipt.from_json(place.show(job)["receipt"]), place.chain.at()
    assert 0 < receipt.units < terms.max_units
    assert view.balance(buyer.address, class_id) == UNITS - receipt.units
    assert view.supply(class_id) == UNITS - receipt.units
    info = view.class_info(class_id)
    paid = receipt.units * info.terms.price_per_million // (1000 * 1_000_000)
    assert view.earnings(place.provider, info.terms.payment_token) in (paid, paid + 1)
    raw = place.private(job, "evidence").content
    verify_bundle(
        Bundle.decode(raw), chain_id=place.chain.chain_id, market=place.chain.address("JobMarket"),
        job_nonce=view.job_state(job).nonce, terms=view.job_terms(job), receipt=receipt,
    )  # fmt: skip
    output = place.private(job, "output").content
    assert keccak(output) == receipt.output_hash


def test_open__without_a_quote__is_accepted_and_settles(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    place.start("provider", place.provider_settings())
    place.put_spec()
    job = place.open(buyer, place.terms(buyer, class_id))
    place.wait_for([job], Status.SETTLED)
    assert [step["state"] for step in place.show(job)["steps"]][:3] == ["open", "accepting", "queued"]


def test_open__while_the_node_was_down__is_found_and_settles(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    place.start("provider", place.provider_settings())
    terms = place.terms(buyer, class_id)
    quote = place.quote(terms)
    place.stop("provider")
    job = place.open(buyer, terms, quote)
    place.start("provider", place.provider_settings())
    place.wait_for([job], Status.SETTLED)


def test_job__over_its_time_limit__is_refunded_whole(place: OracleLab, class_id: int, buyer: Sender) -> None:
    catalogue = place.folder / "catalogue.toml"
    text = (
        DEFAULT_FILE.read_text()
        .replace("seconds = 180", "seconds = 1")
        .replace("ns_per_op = 500", "ns_per_op = 1")
    )
    catalogue.write_text(text)
    place.start("provider", place.provider_settings(provider={"catalogue": catalogue}))
    spec = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 100_000_000})
    terms = place.terms(buyer, class_id, spec_hash=spec_hash(spec))
    job = place.open(buyer, terms, place.quote(terms, spec))
    place.wait_for([job], Status.REFUNDED)
    assert place.show(job)["reason"].startswith("timeout")
    assert place.chain.at().balance(buyer.address, class_id) == UNITS


def test_spec__never_sent__is_cancelled_and_given_back(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    place.start("provider", place.provider_settings(provider={"accept_margin_s": 100}))
    job = place.open(buyer, place.terms(buyer, class_id, accept_by=place.chain.at().time() + 90))
    place.wait_for([job], Status.CANCELLED)
    assert place.chain.at().balance(buyer.address, class_id) == UNITS


def test_challenge_window__is_waited_for_and_finalized(place: OracleLab) -> None:
    job, _ = submitted(place)
    place.system.anvil.advance(61)
    place.wait_for([job], Status.SETTLED)


def submitted(place: OracleLab) -> tuple[bytes, JobTerms]:
    """A job in its challenge window of a minute, and its terms."""
    arbiters = place.system.watcher_set(["arbiter"], 1)
    class_id = place.system.create_class(min_assurance=1, challenge_window=60, arbiter_set=arbiters)
    buyer = place.buy(class_id, UNITS)
    place.start("provider", place.provider_settings())
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.SUBMITTED)
    return job, terms


def challenge(place: OracleLab, job: bytes, terms: JobTerms) -> None:
    """What somebody does who doubts the receipt. The provider notices."""
    system, challenger = place.system, place.system.funded("challenger").address
    bond = int(system.contract("ProviderRegistry").functions.CHALLENGE_BOND().call())
    system.mint(challenger, bond)
    system.send("DemoUSD", "approve", place.chain.address("ProviderRegistry"), bond, sender=challenger)
    system.send("JobMarket", "challenge", terms.to_abi(), sender=challenger)
    place.wait_for([job], Status.DISPUTED)
    assert challenger in place.show(job)["reason"]


def test_dispute__decided_against_the_provider__is_refunded(place: OracleLab) -> None:
    job, terms = submitted(place)
    challenge(place, job, terms)
    verdict = Verdict(job, 0, Fault.PROVIDER)
    digest = verdict_digest(verdict, place.chain.chain_id, place.chain.address("JobMarket"))
    signatures = signed(digest, ["arbiter"])
    place.system.send("JobMarket", "resolve", terms.to_abi(), verdict.to_abi(), signatures)
    place.wait_for([job], Status.REFUNDED)


def test_dispute__nobody_decides__the_provider_ends_it(place: OracleLab) -> None:
    job, terms = submitted(place)
    challenge(place, job, terms)
    # Assurance 1 is the provider's word alone: undecided, the payer gets everything back.
    place.system.anvil.advance(7 * 86_400 + 1)
    place.wait_for([job], Status.REFUNDED)
    assert place.chain.at().job_state(job).status is Status.NONE
    assert place.chain.at().available(terms.payer, terms.class_id) == UNITS


def test_settled_after_accept_by__slot_is_gone_and_the_evidence_still_holds(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    anvil = place.system.anvil
    place.start("provider", place.provider_settings())
    terms = place.terms(buyer, class_id)
    spec_of = Plan(place.id_of(terms), terms, SPEC, place.quote(terms), place.url, place.chain.head())
    job = place.open(buyer, terms, spec_of.quote)
    anvil.rpc("evm_setAutomine", False)
    place.wait(lambda: int(anvil.rpc("txpool_status")["pending"], 16) == 1)
    anvil.advance(300)
    anvil.rpc("evm_setAutomine", True)
    place.wait_for([job], Status.SETTLED)
    assert place.chain.at().job_state(job) == JobState(Status.NONE, 0, 0)
    assert redeem.follow(place.chain, job, timeout=1, since=spec_of.since) is Status.SETTLED
    done = redeem.collect(place.chain, spec_of, account("buyer"))
    assert (done.ending.units, done.receipt.outcome) == (done.receipt.units, Outcome.COMPLETED)
    assert redeem.open_job(place.chain, buyer, spec_of) is None


def test_batch__of_three__is_one_transaction(place: OracleLab, class_id: int, buyer: Sender) -> None:
    place.start(
        "provider",
        place.provider_settings(settle={"max_batch": 3, "max_age_s": 3600}, provider={"slots": 3}),
    )
    terms = [place.terms(buyer, class_id) for _ in range(3)]
    jobs = [place.open(buyer, one, place.quote(one)) for one in terms]
    place.wait_for(jobs, Status.SETTLED)
    place.wait(lambda: all(place.show(job)["tx"] for job in jobs))
    assert len({place.show(job)["tx"] for job in jobs}) == 1


def test_broadcast_then_stopped__new_process_settles_it_once(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    anvil = place.system.anvil
    settings = place.provider_settings()
    place.start("provider", settings)
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    anvil.rpc("evm_setAutomine", False)
    place.wait(lambda: int(anvil.rpc("txpool_status")["pending"], 16) == 1)
    place.stop("provider")
    store = Store.open(settings.database_url)
    assert store.job(job).at is State.SUBMITTING
    store.close()
    place.start("provider", settings)
    assert place.status(job) is Status.RUNNING
    anvil.mine()
    anvil.rpc("evm_setAutomine", True)
    place.wait_for([job], Status.SETTLED)
    assert len(list(place.chain.at().events("JobMarket", "JobSettled", jobId=job))) == 1


def test_simulated_gpu__settles_at_assurance_0_and_says_so_everywhere(place: OracleLab) -> None:
    sku = "test-gpu"
    class_id = place.system.create_class(resource=Resource.GPU_SECOND, sku=sku_id(sku), min_assurance=0)
    buyer = place.buy(class_id, UNITS)
    place.serve(sku)
    place.start("provider", place.provider_settings(provider={"simulated_gpu": True, "gpu_sku": sku}))
    spec = JobSpec("matmul.int8", {"seed": "0x" + "ab" * 32, "size": 64})
    terms = place.terms(buyer, class_id, spec_hash=spec_hash(spec))
    job = place.open(buyer, terms, place.quote(terms, spec))
    place.wait_for([job], Status.SETTLED)
    shown = place.show(job)
    assert shown["simulated"] is True
    assert Receipt.from_json(shown["receipt"]).assurance == 0
    assert place.private(job, "evidence").json()["simulated"] is True
    output = place.private(job, "output")
    assert output.headers["X-Scrip-Simulated"] == "true"
    data = httpx.get(f"{place.url}/.well-known/agent-registration.json", trust_env=False).json()
    assert data["scrip"]["simulated"] is True


def test_dry_run__serves_and_sends_nothing(place: OracleLab, class_id: int, buyer: Sender) -> None:
    place.start("provider", place.provider_settings(key={}))
    place.put_spec()
    job = place.open(buyer, place.terms(buyer, class_id))
    place.wait(lambda: place.show(job).get("reason", "").startswith("dry run"))
    assert place.status(job) is Status.OPEN
    assert httpx.get(f"{place.url}/readyz", trust_env=False).json()["dryRun"] is True


def test_metrics_and_registration__are_served(place: OracleLab) -> None:
    place.start("provider", place.provider_settings())
    assert "scrip_jobs{" in httpx.get(f"{place.url}/metrics", trust_env=False).text
    data = httpx.get(f"{place.url}/.well-known/agent-registration.json", trust_env=False).json()
    assert data["scrip"]["oracle"] == account("oracle").address
