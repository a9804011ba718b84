"""Log scans of a real node, directly and through one that limits its queries."""

from __future__ import annotations

import pytest

from scrip.chain import Chain
from scrip.errors import BadInput, RpcLimit
from scrip.logs import scan
from scrip.types import ClassTerms
from tests.integration import proxy
from tests.integration.system import System, account

AMOUNTS = [1, 2, 3, 4, 5]


@pytest.fixture
def paid(system: System) -> list[int]:
    """Blocks with one transfer each, ten blocks apart."""
    blocks = []
    for amount in AMOUNTS:
        system.anvil.mine(9)
        system.mint(account("alice").address, amount)
        blocks.append(int(system.w3.eth.block_number))
    return blocks


def test_scan__node_refuses_single_blocks__raises_rpc_limit(system: System, paid: list[int]) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment)
        between.most_blocks = 0
        with pytest.raises(RpcLimit, match="limited to a 0 range"):
            list(scan(chain, "DemoUSD", "Transfer", paid[0], chain.head()))


def test_scan__beyond_the_head__raises(chain: Chain) -> None:
    with pytest.raises(BadInput, match="node's head"):
        list(scan(chain, "DemoUSD", "Transfer", 0, chain.head() + 1))


@pytest.mark.parametrize("most", [1, 7, 40])
def test_scan__through_a_node_with_a_limit__finds_every_event_in_order(
    system: System, paid: list[int], most: int
) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment)
        between.most_blocks = most
        found = list(scan(chain, "DemoUSD", "Transfer", paid[0], chain.head()))
    assert [(event.block, event.args["value"]) for event in found] == list(zip(paid, AMOUNTS, strict=True))


def test_scan__answers_lost__are_asked_for_again(system: System, paid: list[int]) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment)
        between.lose["eth_getLogs"] = 2
        assert len(list(scan(chain, "DemoUSD", "Transfer", paid[0], chain.head()))) == len(AMOUNTS)


def test_scan__filter__is_applied_by_the_node(chain: Chain, system: System, paid: list[int]) -> None:
    system.mint(account("bob").address, 9)
    (event,) = scan(chain, "DemoUSD", "Transfer", 0, chain.head(), filters={"to": account("bob").address})
    assert (event.args["to"], event.args["value"]) == (account("bob").address, 9)
    assert event.tx_hash == bytes(system.w3.eth.get_block("latest")["transactions"][0])  # type: ignore[arg-type]


def test_scan__struct_in_an_event__is_decoded_by_name(chain: Chain, system: System) -> None:
    class_id = system.create_class()
    (event,) = scan(chain, "ComputeCredits", "ClassCreated", 0, chain.head(), filters={"classId": class_id})
    assert event.args["terms"]["pricePerMillion"] == system.terms().price_per_million
    assert ClassTerms.from_abi(list(event.args["terms"].values())) == system.terms()
