"""What credits say of themselves: ERC-165, metadata, ERC-7572, ERC-5267, and EIP-6093's names of errors."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from eth_abi.abi import decode
from eth_utils.abi import collapse_if_tuple
from web3.contract import Contract

from scrip import eip712
from scrip.abi import abi
from tests.integration import erc1155
from tests.integration.scene import Scene
from tests.integration.system import account

ERC165, ERC1155, ERC1155_METADATA = "0x01ffc9a7", "0xd9b67a26", "0x0e89341c"
DATA_URI = "data:application/json;base64,"
SIGNING = (
    "ComputeCredits", "ProviderRegistry", "ReceiptVerifier", "JobMarket", "SpendingBudgets",
    "MeteredSessions", "CreditExchange", "PriceFeed",
)  # fmt: skip
MORE = [
    erc1155.function_abi("contractURI()", "string"),
    {
        "type": "function", "name": "eip712Domain", "stateMutability": "view", "inputs": [],
        "outputs": [
            {"name": name, "type": kind}
            for name, kind in (
                ("fields", "bytes1"), ("name", "string"), ("version", "string"), ("chainId", "uint256"),
                ("verifyingContract", "address"), ("salt", "bytes32"), ("extensions", "uint256[]"),
            )
        ],
    },
]  # fmt: skip


def standard(scene: Scene, name: str) -> Contract:
    """A contract as a client sees it that knows the standards alone."""
    made: Any = scene.system.w3.eth.contract
    contract: Contract = made(address=scene.at(name), abi=[*erc1155.ABI, *MORE])
    return contract


@pytest.fixture
def token(scene: Scene) -> Contract:
    return standard(scene, "ComputeCredits")


def from_data_uri(uri: str) -> Any:
    """The JSON in a data URI (RFC 2397)."""
    assert uri.startswith(DATA_URI)
    return json.loads(base64.b64decode(uri.removeprefix(DATA_URI), validate=True))


def last_uri_event(scene: Scene, class_id: int) -> str:
    """What the last URI event of an id says."""
    found = scene.system.w3.eth.get_logs(
        {
            "address": scene.at("ComputeCredits"),
            "fromBlock": 0,
            "topics": ["0x" + erc1155.URI.hex(), "0x" + class_id.to_bytes(32, "big").hex()],
        }
    )
    return str(decode(["string"], found[-1]["data"])[0])


# ERC-165


@pytest.mark.parametrize("interface", ["0xffffffff", "0x4e2312e0", "0x80ac58cd", "0x36372b07"])
def test_erc165__what_it_is_not__is_denied(token: Contract, interface: str) -> None:
    # Invalid by ERC-165, a receiver of ERC-1155, ERC-721, ERC-20.
    assert token.functions.supportsInterface(interface).call() is False


@pytest.mark.parametrize("interface", [ERC165, ERC1155, ERC1155_METADATA])
def test_erc165__what_it_is__is_told_for_little_gas(token: Contract, interface: str) -> None:
    assert token.functions.supportsInterface(interface).call() is True
    # Less than 30,000 by ERC-165; a transaction and its calldata come on top.
    assert token.functions.supportsInterface(interface).estimate_gas() < 30_000 + 21_000 + 36 * 16


# Metadata


def test_uri__any_time__is_what_the_last_event_said(scene: Scene, token: Contract) -> None:
    before = token.functions.uri(scene.class_id).call()
    assert before == last_uri_event(scene, scene.class_id)
    scene.give("buyer", 1_000)
    terms = scene.job("buyer", max_units=600)
    scene.send("buyer", "JobMarket", "open", terms.to_abi(), scene.quote(terms))
    scene.submit(terms, scene.receipt(terms, 500))
    scene.system.send("ComputeCredits", "closeClass", scene.class_id)
    assert token.functions.uri(scene.class_id).call() == last_uri_event(scene, scene.class_id)


def test_uri__any_class__fits_the_metadata_schema(scene: Scene, token: Contract) -> None:
    terms = scene.chain.at().class_terms(scene.class_id)
    shown = from_data_uri(token.functions.uri(scene.class_id).call())
    assert set(shown) <= {"name", "decimals", "description", "image", "properties", "localization"}
    assert (shown["name"], shown["decimals"]) == (terms.name, terms.decimals)
    assert isinstance(shown["description"], str)
    assert isinstance(shown["properties"], dict)
    # Amounts are text: readers of JSON lose integers over 2**53.
    assert shown["properties"]["pricePerMillion"] == str(terms.price_per_million)
    assert shown["properties"]["maxSupply"] == str(terms.max_supply)
    assert shown["properties"]["sku"] == "0x" + terms.sku.hex()


def test_uri__two_classes__differ(scene: Scene, token: Contract) -> None:
    other = scene.system.create_class(name='"quoted"\n\\ café')
    shown = from_data_uri(token.functions.uri(other).call())
    assert shown["name"] == '"quoted"\n\\ café'
    assert token.functions.uri(scene.class_id).call() != token.functions.uri(other).call()


def test_contract_uri__erc_7572__has_a_name_and_only_known_fields(token: Contract) -> None:
    shown = from_data_uri(token.functions.contractURI().call())
    known = {
        "name", "symbol", "description", "image", "banner_image", "featured_image", "external_link",
        "collaborators",
    }  # fmt: skip
    assert shown["name"]
    assert set(shown) <= known


# Errors


def test_errors__eip_6093__all_have_its_names_and_values() -> None:
    exported = {
        entry["name"]: [(item["name"], collapse_if_tuple(item)) for item in entry["inputs"]]
        for entry in abi("ComputeCredits")
        if entry["type"] == "error"
    }
    for entry in erc1155.ERROR_ABI:
        wanted = [item["type"] for item in entry["inputs"]]
        assert [kind for _, kind in exported[entry["name"]]] == wanted, entry["name"]


# ERC-5267


@pytest.mark.parametrize("name", SIGNING)
def test_eip712_domain__erc_5267__is_the_one_we_sign_in(scene: Scene, name: str) -> None:
    fields, title, version, chain_id, at, salt, extensions = (
        standard(scene, name).functions.eip712Domain().call()
    )
    # Name, version, chain id and contract, in EIP-712's order from the lowest bit; no salt.
    assert (fields, salt, extensions) == (b"\x0f", bytes(32), [])
    assert (title, version) == (f"Scrip {name}", "1")
    assert (chain_id, at) == (31337, scene.at(name))
    ours = eip712.domain_separator(title, *scene.domain(name), version)
    assert ours == eip712.domain_separator(f"Scrip {name}", *scene.domain(name))


def test_eip712_domain__client_that_reads_it__signs_what_the_contract_accepts(
    scene: Scene, token: Contract
) -> None:
    _, title, version, chain_id, at, _, _ = token.functions.eip712Domain().call()
    owner, operator = scene.at("user"), scene.at("agent")
    message = {"owner": owner, "operator": operator, "approved": True, "nonce": 3, "deadline": 2**40}
    kinds = {"owner": "address", "operator": "address", "approved": "bool", "nonce": "uint256",
             "deadline": "uint256"}  # fmt: skip
    signature = account("user").sign_typed_data(
        {"name": title, "version": version, "chainId": chain_id, "verifyingContract": at},
        {"Approval": [{"name": name, "type": kind} for name, kind in kinds.items()]},
        message,
    )
    scene.send("relayer", "ComputeCredits", "setApprovalForAllBySig", *message.values(), signature.signature)
    assert token.functions.isApprovedForAll(owner, operator).call()
