"""What Python signs, contracts accept: every signed statement, in its own domain and in no other.

Equal digests are the whole point: a signature made here over a digest computed here is good for the contract
that computes it again, and for no other contract and no other chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scrip import eip712
from scrip.errors import ScripError
from tests.integration.scene import Refusal, Scene
from tests.integration.signed_calls import CALLS, SignedCall
from tests.integration.system import account

BY_NAME = [pytest.param(make, id=make.__name__) for make in CALLS]
Make = Callable[[Scene], SignedCall]


def refusal_of(scene: Scene, call: SignedCall, digest: bytes) -> tuple[Refusal, Refusal]:
    """What the call answers to signatures over `digest`, and what it should."""
    right = call.digest(*scene.domain(call.domain or call.contract))
    assert digest != right
    seeming = eip712.recover(right, eip712.sign(digest, account(call.signer)))
    return scene.refusal(call.sender, call.contract, call.function, *call.args(digest)), call.error(seeming)


def seen_before(call: SignedCall) -> Any:
    """None where there is nothing to see yet."""
    try:
        return call.seen()
    except ScripError:
        return None


@pytest.mark.parametrize("make", BY_NAME)
def test_signature__for_another_chain__is_refused(scene: Scene, make: Make) -> None:
    call = make(scene)
    chain_id, at = scene.domain(call.domain or call.contract)
    found, expected = refusal_of(scene, call, call.digest(chain_id + 1, at))
    assert found == expected


@pytest.mark.parametrize("make", BY_NAME)
def test_signature__for_another_contract__is_refused(scene: Scene, make: Make) -> None:
    call = make(scene)
    chain_id, _ = scene.domain(call.contract)
    found, expected = refusal_of(scene, call, call.digest(chain_id, scene.at("DemoUSD")))
    assert found == expected


@pytest.mark.parametrize("make", BY_NAME)
def test_signature__for_this_contract__is_accepted(scene: Scene, make: Make) -> None:
    call = make(scene)
    assert seen_before(call) != call.expected
    digest = call.digest(*scene.domain(call.domain or call.contract))
    scene.send(call.sender, call.contract, call.function, *call.args(digest))
    assert call.seen() == call.expected
