"""Digests and struct hashes against the contracts' own."""

from __future__ import annotations

from eth_account import Account
from hypothesis import HealthCheck, given, settings

from scrip import eip712
from scrip.chain import Chain
from scrip.types import JobTerms, Receipt
from tests.integration.system import System
from tests.unit.test_eip712 import BYTES32, RECEIPTS, TERMS

RELAXED = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@RELAXED
@given(TERMS)
def test_job_id__any_terms__equals_the_markets(chain: Chain, terms: JobTerms) -> None:
    on_chain = chain.at().read("JobMarket", "hashTerms", terms.to_abi())
    assert eip712.job_id(terms, chain.chain_id, chain.address("JobMarket")) == on_chain


@RELAXED
@given(BYTES32)
def test_acceptance_digest__any_job__equals_the_markets(chain: Chain, job: bytes) -> None:
    on_chain = chain.at().read("JobMarket", "quoteDigest", job)
    assert eip712.acceptance_digest(job, chain.chain_id, chain.address("JobMarket")) == on_chain


@RELAXED
@given(RECEIPTS)
def test_receipt_digest__any_receipt__equals_the_verifiers(chain: Chain, receipt: Receipt) -> None:
    view, verifier = chain.at(), chain.address("ReceiptVerifier")
    assert eip712.receipt_struct_hash(receipt) == view.read(
        "ReceiptVerifier", "hashReceipt", receipt.to_abi()
    )
    on_chain = view.read("ReceiptVerifier", "receiptDigest", receipt.to_abi())
    assert eip712.receipt_digest(receipt, chain.chain_id, verifier) == on_chain


def test_batch_digest__some_sizes__equals_the_verifiers(chain: Chain) -> None:
    view, verifier = chain.at(), chain.address("ReceiptVerifier")
    for size in (1, 2, 7, 100):
        hashes = [bytes([index]) * 32 for index in range(size)]
        on_chain = view.read("ReceiptVerifier", "batchDigest", hashes)
        assert eip712.batch_digest(hashes, chain.chain_id, verifier) == on_chain


def test_domain_separator__verifier__equals_the_contracts(chain: Chain) -> None:
    domain = eip712.domain_separator(eip712.VERIFIER_DOMAIN, chain.chain_id, chain.address("ReceiptVerifier"))
    assert domain == chain.at().read("ReceiptVerifier", "domainSeparator")


def test_sign__permit_of_a_token__is_recovered_by_the_contract(system: System, chain: Chain) -> None:
    # Not one of our own structs: proves that sign() and the domain hash suit any EIP-712 contract.
    token, owner, spender = chain.address("DemoUSD"), Account.create(), chain.address("CreditReserve")
    domain = eip712.domain_separator("Demo USD", chain.chain_id, token)
    permit = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    types = ["address", "address", "uint256", "uint256", "uint256"]
    struct = eip712.hash_struct(permit, types, [owner.address, spender, 5, 0, 2**40])
    signature = eip712.sign(eip712.digest(domain, struct), owner)
    parts = (signature[64], signature[:32], signature[32:64])
    system.send("DemoUSD", "permit", owner.address, spender, 5, 2**40, *parts)
    assert chain.at().token_allowance(token, owner.address, spender) == 5
