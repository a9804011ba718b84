"""Who signed a request, and who has to do with a job: asked of real contracts."""

from __future__ import annotations

from eth_utils.crypto import keccak

from oracle.facts import Facts
from scrip.eip712 import sign
from tests.integration.scene import WATCHERS, Scene
from tests.integration.system import account

MESSAGE = keccak(text="a request")
# Answers any call with one word: ERC-1271's yes, or something else.
YES = "0x7f1626ba7e" + "00" * 28 + "5f5260205ff3"
NO = "0x7fffffffff" + "00" * 28 + "5f5260205ff3"
REVERTS = "0x5f5ffd"
# Says yes only to a call that brings less than 2,000,000 gas.
FRUGAL = "0x5a621e848011600c575f5ffd5b" + YES[2:]


def facts(scene: Scene) -> Facts:
    return Facts(scene.chain, local=True)


def test_has_signed__own_key__only_its_own(scene: Scene) -> None:
    signature = sign(MESSAGE, account("buyer"))
    assert facts(scene).has_signed(scene.at("buyer"), MESSAGE, signature)
    assert not facts(scene).has_signed(scene.at("seller"), MESSAGE, signature)
    assert not facts(scene).has_signed(scene.at("buyer"), keccak(text="another"), signature)
    assert not facts(scene).has_signed(scene.at("buyer"), MESSAGE, signature[:-1])


def test_has_signed__contract__decides_itself(scene: Scene) -> None:
    wallet = account("wallet").address
    for code, expected in ((YES, True), (NO, False), (REVERTS, False), (FRUGAL, True)):
        scene.system.anvil.rpc("anvil_setCode", wallet, code)
        assert facts(scene).has_signed(wallet, MESSAGE, b"\x01") is expected


def test_is_party__payer_provider_oracle_spender_and_watchers__nobody_else(scene: Scene) -> None:
    budget = scene.budget("buyer", scene.limits("agent"))
    terms = scene.job("buyer", budget_id=budget)
    parties = ("buyer", "provider", "oracle", "agent", *WATCHERS)
    assert [name for name in parties if not facts(scene).is_party(scene.at(name), terms)] == []
    for name in ("seller", "relayer", "challenger"):
        assert not facts(scene).is_party(scene.at(name), terms)


def test_is_party__job_without_a_budget__no_spender(scene: Scene) -> None:
    scene.budget("buyer", scene.limits("agent"))
    assert not facts(scene).is_party(scene.at("agent"), scene.job("buyer"))


def test_is_party__oracle_key_that_was_rotated__no_more(scene: Scene) -> None:
    terms, key = scene.job("buyer"), scene.at("oracle")
    scene.send("provider", "ProviderRegistry", "update", scene.at("new oracle"), b"\x00" * 12, "")
    assert not facts(scene).is_party(key, terms)
    assert facts(scene).is_party(scene.at("new oracle"), terms)
