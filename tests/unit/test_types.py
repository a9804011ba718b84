"""The mirrored structs: validation, ABI tuples and JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrip import abi
from scrip.errors import BadInput, NotFound
from scrip.structs import ZERO_ADDRESS, Struct, camel
from scrip.types import (
    Attestation,
    Capacity,
    ClassTerms,
    Deployment,
    Dispute,
    Fault,
    Funding,
    JobState,
    JobTerms,
    Outcome,
    Receipt,
    Resource,
    ServingTerms,
    Status,
    Submission,
    Verdict,
    region_bytes,
    region_text,
    sku_id,
)
from scrip.types_spending import NO_CAP, Budget, Limits, Offer, SessionState, SessionTerms

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TERMS = JobTerms(ALICE, ALICE, 1, 60, 1, 100, 200, b"\x05" * 32, 0, 9)
RECEIPT = Receipt(b"\x01" * 32, Outcome.COMPLETED, 60, 5, 1, 2, 10, 20, b"\x02" * 32, b"\x03" * 32, 1)
CLASS = ClassTerms(
    ALICE, Resource.CPU_SECOND, 3, Funding.SALE, True, False, 1, 1, 0, 1_000, 0, 10**12, 0, sku_id("x"),
    region_bytes("eu-west"), ALICE, 2_000_000, ZERO_ADDRESS, 0, ZERO_ADDRESS, 2, 5_000_000, 100,
    "CPU seconds",
)  # fmt: skip
LIMITS = Limits(ALICE, 10, NO_CAP, 30, 86_400, 0, True)
STRUCTS: list[Struct] = [
    TERMS,
    RECEIPT,
    CLASS,
    Attestation(b"\x01" * 65, (b"\x02" * 65, b"\x03" * 65)),
    JobState(Status.RUNNING, 100, 2**96 - 1, 7),
    Submission(5, 100, 1, Outcome.FAILED, b"\x04" * 32),
    Dispute(ALICE, 2**40 - 1),
    Verdict(b"\x01" * 32, 5, Fault.PROVIDER),
    Capacity(ALICE, sku_id("x"), 1, 8, 200, 100),
    ServingTerms(b"\x02" * 20, True, False),
    SessionTerms(ALICE, ALICE, 1, ALICE, 100, 0, 9),
    SessionState(5, 4, 100, False),
    LIMITS,
    Budget(ALICE, ALICE, 0, 1, False, LIMITS, 3, 2, 1),
    Offer(ALICE, True, 1, 10, ALICE, 20, ZERO_ADDRESS, 100, 0, 9),
]
NAMES = [type(struct).__name__ for struct in STRUCTS]


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("payer", "0x1234", "40 hex digits"),
        ("payer", ALICE.replace("C5", "c5"), "valid checksum"),
        ("payer", 5, "40 hex digits"),
        ("class_id", -1, "2**256 - 1"),
        ("max_units", 2**128, "2**128 - 1"),
        ("resources", 2**32, "2**32 - 1"),
        ("accept_by", 2**40, "2**40 - 1"),
        ("submit_by", True, "an integer"),
        ("submit_by", 1.0, "an integer"),
        ("spec_hash", b"\x05" * 31, "exactly 32 bytes"),
        ("spec_hash", "05" * 32, "bytes or 0x hex"),
        ("spec_hash", "0x5", "bytes or 0x hex"),
        ("salt", "9", "an integer"),
    ],
)
def test_job_terms__value_out_of_range__raises(field: str, value: Any, limit: str) -> None:
    with pytest.raises(BadInput) as caught:
        dataclasses.replace(TERMS, **{field: value})
    assert caught.value.field == f"JobTerms.{field}"
    assert limit in str(caught.value)


def test_receipt__unknown_outcome__raises_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="1 COMPLETED"):
        dataclasses.replace(RECEIPT, outcome=3)  # type: ignore[arg-type]


def test_attestation__watchers_not_a_list__raises() -> None:
    with pytest.raises(BadInput, match=r"Attestation\.watchers"):
        Attestation(b"", b"\x01" * 65)  # type: ignore[arg-type]


def test_class_terms__not_a_boolean__raises() -> None:
    with pytest.raises(BadInput, match="true or false"):
        dataclasses.replace(CLASS, transferable=1)  # type: ignore[arg-type]


def test_from_abi__wrong_length__raises() -> None:
    with pytest.raises(BadInput, match="10 values"):
        JobTerms.from_abi(TERMS.to_abi()[:-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("salt"),
        lambda data: data.update(extra="1"),
        lambda data: data.update(salt="-1"),
        lambda data: data.update(salt="1.0"),
        lambda data: data.update(salt="1" * 79),
        lambda data: data.update(salt=1.5),
        lambda data: data.update(payer=None),
    ],
)
def test_from_json__malformed__raises(change: Any) -> None:
    data = TERMS.to_json()
    change(data)
    with pytest.raises(BadInput):
        JobTerms.from_json(data)


def test_from_json__not_an_object__raises() -> None:
    with pytest.raises(BadInput, match="an object"):
        Receipt.from_json([1])


@pytest.mark.parametrize("struct", STRUCTS, ids=NAMES)
def test_struct__abi_and_json__read_back_the_same(struct: Struct) -> None:
    kind = type(struct)
    assert kind.from_abi(struct.to_abi()) == struct
    assert kind.from_abi(list(struct.to_abi())) == struct
    assert kind.from_json(json.loads(json.dumps(struct.to_json()))) == struct


def test_to_json__job_terms__has_decimal_strings_and_hex() -> None:
    data = dataclasses.replace(TERMS, salt=2**255).to_json()
    assert data["salt"] == str(2**255)
    assert data["specHash"] == "0x" + "05" * 32
    assert data["payer"] == ALICE


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**128 - 1), st.binary(min_size=32, max_size=32))
def test_job_terms__any_values__read_back_the_same(salt: int, units: int, spec: bytes) -> None:
    terms = dataclasses.replace(TERMS, salt=salt, max_units=units, spec_hash=spec)
    assert JobTerms.from_json(terms.to_json()) == terms == JobTerms.from_abi(terms.to_abi())


def test_struct__address_in_lower_case__becomes_checksummed() -> None:
    assert dataclasses.replace(TERMS, payer=ALICE.lower()).payer == ALICE


def test_struct__enum_from_number__becomes_the_enum() -> None:
    assert JobState(2, 0, 0).status is Status.RUNNING  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("contract", "function", "kind"),
    [
        ("JobMarket", "jobs", JobState),
        ("JobMarket", "submissions", Submission),
        ("JobMarket", "disputes", Dispute),
        ("ComputeCredits", "classTerms", ClassTerms),
        ("ComputeCredits", "providerTerms", ServingTerms),
        ("MeteredSessions", "sessions", SessionState),
    ],
)
def test_struct__contract_returns_it__same_names_types_and_order(
    contract: str, function: str, kind: type[Struct]
) -> None:
    entry = next(item for item in abi.abi(contract) if item.get("name") == function)
    assert_mirrors(kind, entry["outputs"][0]["components"])


@pytest.mark.parametrize(("index", "kind"), [(0, JobTerms), (1, Receipt), (2, Attestation)])
def test_struct__submit_takes_it__same_names_types_and_order(index: int, kind: type[Struct]) -> None:
    entry = next(item for item in abi.abi("JobMarket") if item.get("name") == "submit")
    assert_mirrors(kind, entry["inputs"][index]["components"])


@pytest.mark.parametrize(
    ("contract", "function", "index", "kind"),
    [
        ("JobMarket", "resolve", 1, Verdict),
        ("MeteredSessions", "openSession", 0, SessionTerms),
        ("SpendingBudgets", "createBudget", 1, Limits),
        ("CreditExchange", "hashOffer", 0, Offer),
    ],
)
def test_struct__contract_takes_it__same_names_types_and_order(
    contract: str, function: str, index: int, kind: type[Struct]
) -> None:
    entry = next(item for item in abi.abi(contract) if item.get("name") == function)
    assert_mirrors(kind, entry["inputs"][index]["components"])


def test_budget__contract_returns_it__same_names_and_nested_limits() -> None:
    entry = next(item for item in abi.abi("SpendingBudgets") if item.get("name") == "budgetOf")
    components = entry["outputs"][0]["components"]
    assert [item["name"] for item in components] == [camel(item.name) for item in dataclasses.fields(Budget)]
    (limits,) = (item for item in components if item["name"] == "limits")
    assert_mirrors(Limits, limits["components"])


def test_capacity__contract_takes_its_fields_one_by_one() -> None:
    entry = next(item for item in abi.abi("ProviderRegistry") if item.get("name") == "attestCapacity")
    assert_mirrors(Capacity, entry["inputs"][:-1])


def assert_mirrors(kind: type[Any], components: list[dict[str, Any]]) -> None:
    names = [camel(field.name) for field in dataclasses.fields(kind)]
    assert [(item["name"], item["type"]) for item in components] == list(
        zip(names, kind.abi_types(), strict=True)
    )


@pytest.mark.parametrize("resource", list(Resource))
def test_resource__label__is_there_for_each(resource: Resource) -> None:
    assert resource.label


@pytest.mark.parametrize("status", list(Status))
def test_status__final__from_settled_on(status: Status) -> None:
    ended = {Status.SETTLED, Status.REFUNDED, Status.CANCELLED, Status.EXPIRED}
    assert status.final == (status in ended)


@pytest.mark.parametrize("label", ["thirteen-char", "münchen", "a\0b"])
def test_region_bytes__not_short_ascii__raises(label: str) -> None:
    with pytest.raises(BadInput, match="region"):
        region_bytes(label)


@pytest.mark.parametrize(("label", "text"), [("eu-west", "eu-west"), ("", "any"), ("any", "any")])
def test_region_text__of_region_bytes__is_the_label(label: str, text: str) -> None:
    assert len(region_bytes(label)) == 12
    assert region_text(region_bytes(label)) == text


def test_deployment__bad_address__raises_with_the_contracts_name() -> None:
    with pytest.raises(BadInput, match=r"deployment\.contracts\.JobMarket"):
        Deployment(31337, 0, {"JobMarket": "0x12"})


def test_deployment__unknown_contract__raises_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="JobMarket"):
        Deployment(31337, 0, {"JobMarket": ALICE}).address("Nothing")
