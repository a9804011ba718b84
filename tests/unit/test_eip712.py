"""Digests against eth_account's own encoder, and signatures."""

from __future__ import annotations

import re
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from scrip import eip712, hashing
from scrip.errors import BadInput, BadSignature
from scrip.structs import Struct, camel
from scrip.types import JobTerms, Outcome, Receipt

CHAIN = 31337
AT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
OTHER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ACCOUNT = Account.from_key(b"\x11" * 32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

BYTES32 = st.binary(min_size=32, max_size=32)
TERMS = st.builds(
    JobTerms,
    payer=st.sampled_from([AT, OTHER]),
    provider=st.sampled_from([AT, OTHER]),
    class_id=st.integers(0, 2**256 - 1),
    max_units=st.integers(0, 2**128 - 1),
    resources=st.integers(0, 2**32 - 1),
    accept_by=st.integers(0, 2**40 - 1),
    submit_by=st.integers(0, 2**40 - 1),
    spec_hash=BYTES32,
    budget_id=st.integers(0, 2**256 - 1),
    salt=st.integers(0, 2**256 - 1),
)
RECEIPTS = st.builds(
    Receipt,
    job_id=BYTES32,
    outcome=st.sampled_from(Outcome),
    units=st.integers(0, 2**128 - 1),
    gpu_millijoules=st.integers(0, 2**64 - 1),
    input_tokens=st.integers(0, 2**64 - 1),
    output_tokens=st.integers(0, 2**64 - 1),
    started_at=st.integers(0, 2**40 - 1),
    ended_at=st.integers(0, 2**40 - 1),
    output_hash=BYTES32,
    evidence_root=BYTES32,
    assurance=st.integers(0, 255),
)


def members(type_string: str) -> list[dict[str, str]]:
    inside = type_string[type_string.index("(") + 1 : -1]
    pairs = [item.split(" ") for item in inside.split(",")]
    return [{"name": name, "type": kind} for kind, name in pairs]


def reference(domain: str, type_string: str, message: dict[str, Any]) -> bytes:
    """The same digest by eth_account. The types of nested structs follow that of the message."""
    primary, *nested = re.findall(r"\w+\([^)]*\)", type_string)
    types = {one.partition("(")[0]: members(one) for one in (eip712.DOMAIN_TYPE, primary, *nested)}
    signable = encode_typed_data(
        full_message={
            "types": types,
            "primaryType": primary.partition("(")[0],
            "domain": {"name": domain, "version": "1", "chainId": CHAIN, "verifyingContract": AT},
            "message": message,
        }
    )
    return bytes(keccak(b"\x19" + signable.version + signable.header + signable.body))


def message_of(struct: Struct) -> dict[str, Any]:
    names = [item["name"] for item in members(struct.type_string())]
    return dict(zip(names, struct.to_abi(), strict=True))


def test_type_strings__mirrored_structs__agree_with_their_fields() -> None:
    assert JobTerms.type_string() == eip712.JOB_TERMS_TYPE
    assert Receipt.type_string() == eip712.RECEIPT_TYPE
    assert camel("gpu_millijoules") == "gpuMillijoules"


@settings(max_examples=50)
@given(TERMS)
def test_job_id__any_terms__equals_eth_accounts_digest(terms: JobTerms) -> None:
    expected = reference(eip712.MARKET_DOMAIN, eip712.JOB_TERMS_TYPE, message_of(terms))
    assert eip712.job_id(terms, CHAIN, AT) == expected


@settings(max_examples=50)
@given(RECEIPTS)
def test_receipt_digest__any_receipt__equals_eth_accounts_digest(receipt: Receipt) -> None:
    expected = reference(eip712.VERIFIER_DOMAIN, eip712.RECEIPT_TYPE, message_of(receipt))
    assert eip712.receipt_digest(receipt, CHAIN, AT) == expected


@settings(max_examples=20)
@given(BYTES32)
def test_acceptance_digest__any_job__equals_eth_accounts_digest(job: bytes) -> None:
    expected = reference(eip712.MARKET_DOMAIN, eip712.ACCEPTANCE_TYPE, {"jobId": job})
    assert eip712.acceptance_digest(job, CHAIN, AT) == expected


@settings(max_examples=20)
@given(BYTES32, st.integers(0, 2**256 - 1))
def test_cancel_digest__any_job__equals_eth_accounts_digest(job: bytes, deadline: int) -> None:
    message = {"jobId": job, "deadline": deadline}
    expected = reference(eip712.MARKET_DOMAIN, eip712.CANCEL_TYPE, message)
    assert eip712.cancel_digest(job, deadline, CHAIN, AT) == expected


@settings(max_examples=20)
@given(st.lists(BYTES32, min_size=1, max_size=5))
def test_batch_digest__any_batch__equals_eth_accounts_digest(hashes: list[bytes]) -> None:
    expected = reference(eip712.VERIFIER_DOMAIN, eip712.BATCH_TYPE, {"receipts": hashes})
    assert eip712.batch_digest(hashes, CHAIN, AT) == expected


def test_batch_digest__empty__raises() -> None:
    with pytest.raises(BadInput, match="at least one receipt"):
        eip712.batch_digest([], CHAIN, AT)


def test_batch_digest__other_order__differs() -> None:
    first, second = b"\x01" * 32, b"\x02" * 32
    assert eip712.batch_digest([first, second], CHAIN, AT) != eip712.batch_digest([second, first], CHAIN, AT)


def test_job_id__other_chain_or_contract__differs() -> None:
    terms = JobTerms(OTHER, OTHER, 1, 1, 1, 1, 1, bytes(32), 0, 0)
    ids = {eip712.job_id(terms, CHAIN, AT), eip712.job_id(terms, 1, AT), eip712.job_id(terms, CHAIN, OTHER)}
    assert len(ids) == 3


def test_acceptance_digest__job_id_of_wrong_length__raises() -> None:
    with pytest.raises(BadInput, match="exactly 32 bytes"):
        eip712.acceptance_digest(b"\x01" * 31, CHAIN, AT)


@settings(max_examples=30)
@given(BYTES32)
def test_recover__own_signature__is_the_signer(message: bytes) -> None:
    signature = eip712.sign(message, ACCOUNT)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert eip712.recover(message, signature) == ACCOUNT.address


def test_recover__other_digest__is_another_address() -> None:
    signature = eip712.sign(b"\x01" * 32, ACCOUNT)
    assert eip712.recover(b"\x02" * 32, signature) != ACCOUNT.address


@given(message=st.binary(min_size=32, max_size=32), secret=st.integers(1, 1 << 200))
def test_sign__any_key_and_digest__equals_eth_accounts_signature(message: bytes, secret: int) -> None:
    account = Account.from_key(secret.to_bytes(32))
    assert eip712.sign(message, account) == bytes(account.unsafe_sign_hash(message).signature)


@given(data=st.binary(max_size=300))
def test_keccak__any_bytes__equals_eth_utils(data: bytes) -> None:
    assert hashing.by_pysha3(data) == hashing.by_pycryptodome(data) == keccak(data)


def test_sign__not_32_bytes__raises() -> None:
    with pytest.raises(BadInput, match="exactly 32 bytes"):
        eip712.sign(b"\x01" * 33, ACCOUNT)


def malleable(signature: bytes) -> bytes:
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda sig: sig[:64], "signature"),
        (lambda sig: b"", "signature"),
        (lambda sig: sig + b"\x00", "signature"),
        (lambda sig: sig[:64] + bytes([sig[64] - 27]), r"signature\.v"),
        (lambda sig: sig[:64] + b"\x1d", r"signature\.v"),
        (malleable, r"signature\.s"),
        (lambda sig: bytes(64) + sig[64:], "signature"),
        (lambda sig: b"\xff" * 32 + sig[32:], "signature"),
    ],
)
def test_recover__signature_the_contracts_refuse__raises(spoil: Any, field: str) -> None:
    signature = eip712.sign(b"\x01" * 32, ACCOUNT)
    with pytest.raises(BadSignature, match=field):
        eip712.recover(b"\x01" * 32, spoil(signature))
