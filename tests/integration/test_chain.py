"""Connecting to a deployment, and reads pinned to a block."""

from __future__ import annotations

import dataclasses

import pytest

from scrip import eip712
from scrip.chain import Chain
from scrip.errors import NodeUnavailable, NotFound, Reverted, WrongChain
from scrip.structs import ZERO_ADDRESS
from scrip.types import Deployment, JobState, JobTerms, Outcome, Status, Submission, WatcherSet
from scrip.types_spending import SessionState
from tests.integration.system import REGION, SKU, System, account


def job(system: System, class_id: int, provider: str, payer: str) -> JobTerms:
    now = int(system.w3.eth.get_block("latest")["timestamp"])
    return JobTerms(payer, provider, class_id, 500, 1, now + 600, now + 3600, b"\x07" * 32, 0, 1)


# Connecting


def test_connect__other_chain_id__raises(system: System) -> None:
    other = dataclasses.replace(system.deployment, chain_id=1)
    with pytest.raises(WrongChain, match="node serves chain 31337, the deployment is on chain 1"):
        Chain.connect(system.anvil.url, other)


def test_connect__no_code_at_an_address__raises_with_its_name(system: System) -> None:
    empty = account("nobody").address
    contracts = {**system.deployment.contracts, "JobMarket": empty}
    with pytest.raises(WrongChain, match=f"no code on chain 31337 at JobMarket {empty}"):
        Chain.connect(system.anvil.url, Deployment(31337, 0, contracts))


def test_connect__nobody_listens__raises_without_the_urls_key(system: System) -> None:
    with pytest.raises(NodeUnavailable) as caught:
        Chain.connect("http://127.0.0.1:9/v2/secret-key", system.deployment, attempts=1)
    assert "secret-key" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_finalized__depth__is_behind_the_head(system: System) -> None:
    system.anvil.mine(5)
    assert Chain.connect(system.anvil.url, system.deployment).finalized() == system.w3.eth.block_number
    deep = Chain.connect(system.anvil.url, system.deployment, finality_depth=3)
    assert deep.finalized() == system.w3.eth.block_number - 3


# What isn't there


def test_class_info__unknown__raises_not_found(chain: Chain) -> None:
    with pytest.raises(NotFound, match="class 9"):
        chain.at().class_info(9)


def test_provider__unknown__raises_not_found(chain: Chain) -> None:
    with pytest.raises(NotFound, match="provider"):
        chain.at().provider(account("nobody").address)


def test_watcher_set__unknown__raises_not_found(chain: Chain) -> None:
    with pytest.raises(NotFound, match="watcher set 1"):
        chain.at().watcher_set(1)


def test_job__unknown__has_no_state_and_no_terms(chain: Chain) -> None:
    view = chain.at()
    assert view.job_state(b"\x01" * 32) == JobState(Status.NONE, 0, 0)
    assert view.submission(b"\x01" * 32) == Submission(0, 0, 0, Outcome.NONE, bytes(32))
    with pytest.raises(NotFound, match="job"):
        view.job_terms(b"\x01" * 32)


def test_block_time__unknown_block__raises_not_found(chain: Chain) -> None:
    with pytest.raises(NotFound, match="block"):
        chain.block_time(chain.head() + 100)


def test_read__reverting_view__is_typed(chain: Chain) -> None:
    with pytest.raises(Reverted, match="ComputeCredits_UnknownClass"):
        chain.at().cost(9, 1)


# Reads


def test_class_info__new_class__reads_back_its_terms(chain: Chain, system: System) -> None:
    class_id = system.create_class()
    view = chain.at()
    info = view.class_info(class_id)
    assert info.terms == system.terms()
    assert (info.supply, info.backing, info.closed, info.wound_down) == (0, 0, False, False)
    assert list(view.class_ids()) == [class_id]
    system.send("ComputeCredits", "closeClass", class_id)
    closed = chain.at().class_info(class_id)
    assert (closed.closed, closed.wound_down) == (True, True)


def test_view__older_block__is_unchanged_by_what_follows(chain: Chain, system: System) -> None:
    class_id, alice = system.create_class(), account("alice").address
    before = chain.at()
    system.buy(class_id, "alice", 3_000)
    after = chain.at()
    assert (before.balance(alice, class_id), after.balance(alice, class_id)) == (0, 3_000)
    assert (before.supply(class_id), after.supply(class_id)) == (0, 3_000)
    price = after.cost(class_id, 3_000)
    assert (before.backing(class_id), after.backing(class_id)) == (0, price)
    token = system.deployment.address("DemoUSD")
    assert after.token_balance(token, alice) == 10**12 - price
    assert (before.token_balance(token, alice), list(before.events("CreditReserve", "Bought"))) == (0, [])
    assert (after.token_decimals(token), after.token_symbol(token)) == (6, "dUSD")
    assert (after.fees(token), after.earnings(alice, token)) == (0, 0)


def test_provider__registered__reads_back(chain: Chain, system: System) -> None:
    provider, oracle = system.funded("provider").address, account("oracle").address
    system.register(provider, oracle)
    view = chain.at()
    info = view.provider(provider)
    assert (info.oracle, info.region, info.uri) == (oracle, REGION, "http://127.0.0.1/")
    assert (info.stake, info.unbonding) == (0, 0)
    assert view.providers() == (info,)
    assert (view.serves(provider, SKU), view.serves(provider, bytes(32))) == (True, False)
    assert view.oracle_of(account("nobody").address) == ZERO_ADDRESS


def test_can_serve__sku_region_and_list__all_count(chain: Chain, system: System) -> None:
    provider, other = system.funded("provider").address, account("other").address
    system.register(provider, provider)
    anyone, listed = system.create_class(), system.create_class([provider])
    unlisted, elsewhere = system.create_class([other]), system.create_class(region=b"mars".ljust(12, b"\0"))
    view = chain.at()
    assert [view.can_serve(provider, item) for item in (anyone, listed, unlisted, elsewhere)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_watcher_set__activated__has_members_and_threshold(chain: Chain, system: System) -> None:
    members = sorted((account(name).address for name in "abc"), key=lambda item: int(item, 16))
    system.send("ReceiptVerifier", "proposeSet", 0, members, 2)
    with pytest.raises(NotFound, match="proposal isn't activated"):
        chain.at().watcher_set(1)
    system.send("ReceiptVerifier", "activateSet", 1, members, 2)
    assert chain.at().watcher_set(1) == WatcherSet(1, tuple(members), 2)


def test_budget_and_session__unknown__not_found_and_all_zero(chain: Chain) -> None:
    with pytest.raises(NotFound, match="budget 7"):
        chain.at().budget(7)
    assert chain.at().session(b"\x01" * 32) == SessionState(0, 0, 0, False)


def test_job__opened__has_state_terms_and_the_id_we_compute(chain: Chain, system: System) -> None:
    class_id = system.create_class()
    provider = system.funded("provider").address
    system.register(provider, provider)
    alice = system.buy(class_id, "alice", 3_000)
    terms = job(system, class_id, provider, alice)
    system.send("JobMarket", "open", terms.to_abi(), b"", sender=alice)
    view = chain.at()
    job_id = eip712.job_id(terms, chain.chain_id, chain.address("JobMarket"))
    state = view.job_state(job_id)
    assert (state.status, state.opened_at) == (Status.OPEN, view.time())
    assert state.nonce > 0
    assert view.job_terms(job_id) == terms
    # Locked units stay the payer's, and can't be used for anything else.
    found = (view.balance(alice, class_id), view.locked(alice, class_id), view.available(alice, class_id))
    assert found == (3_000, 500, 2_500)
    assert view.balance(chain.address("JobMarket"), class_id) == 0
