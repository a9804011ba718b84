"""Credits held against the text of ERC-1155: transfers, receivers and approvals, by any client's means.

`tests.integration.erc1155` has the interface and the errors from the standards, not from our contracts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from web3.contract import Contract

from scrip.calls import Call
from scrip.chain import Chain
from scrip.errors import Reverted
from scrip.reverts import error_table
from scrip.structs import ZERO_ADDRESS, to_address
from tests.integration import erc1155
from tests.integration.erc1155 import ON_BATCH, ON_RECEIVED, Saw, Told, Transfer
from tests.integration.scene import PRICE, Scene

HOLDER, OPERATOR, FRIEND, RECEIVER = "buyer", "agent", "seller", "receiver"
HELD = (700, 300)
DATA = bytes(range(77))
TAKEN = ON_RECEIVED + bytes(28), ON_BATCH + bytes(28)


@dataclass(slots=True)
class Token:
    """The token as a client sees it that knows the standard alone. The holder has HELD of both ids."""

    scene: Scene
    contract: Contract
    chain: Chain
    ids: tuple[int, int]

    def at(self, who: str) -> str:
        return ZERO_ADDRESS if who == "nobody" else self.scene.at(who)

    def send(self, who: str, function: str, *args: Any) -> list[Any]:
        """What is logged: transfers, and what receivers saw."""
        rpc = self.scene.system.anvil.rpc
        rpc("anvil_impersonateAccount", self.at(who))
        rpc("anvil_setBalance", self.at(who), hex(10**18))
        sent = self.contract.functions[function](*args).transact({"from": self.at(who)})
        receipt = self.scene.system.mined(sent)
        assert receipt["status"] == 1
        return erc1155.entries(receipt, self.contract.address)

    def refusal(self, who: str, function: str, *args: Any) -> tuple[Any, ...]:
        call = Call.of(self.contract.functions[function](*args))
        with pytest.raises(Reverted) as caught:
            self.chain.call(call.params(self.at(who)))
        values = caught.value.params.values()
        return caught.value.name, *(to_address("", v) if str(v).startswith("0x") else v for v in values)

    def balances(self, who: str) -> tuple[int, ...]:
        account = self.at(who)
        return tuple(self.contract.functions.balanceOfBatch([account] * 2, list(self.ids)).call())

    def put(self, code: bytes, who: str = RECEIVER) -> str:
        """Give an account code; its address."""
        self.scene.system.anvil.rpc("anvil_setCode", self.at(who), "0x" + code.hex())
        return self.at(who)

    def single(self, target: str, value: int = 5, data: bytes = DATA) -> tuple[Any, ...]:
        """A transfer of the first id from the holder."""
        return "safeTransferFrom", self.at(HOLDER), self.at(target), self.ids[0], value, data

    def batch(self, target: str, values: tuple[int, ...] = (5, 6)) -> tuple[Any, ...]:
        """A transfer of both ids from the holder."""
        return "safeBatchTransferFrom", self.at(HOLDER), self.at(target), list(self.ids), list(values), DATA


@pytest.fixture
def token(scene: Scene) -> Token:
    ids = scene.class_id, scene.system.create_class(price_per_million=PRICE)
    for class_id, units in zip(ids, HELD, strict=True):
        scene.give(HOLDER, units, class_id)
    address = scene.at("ComputeCredits")
    made: Any = scene.system.w3.eth.contract
    errors = error_table([erc1155.ERROR_ABI])
    chain = Chain(scene.chain.w3, scene.system.deployment, errors=errors)
    return Token(scene, made(address=address, abi=erc1155.ABI), chain, ids)


# MUST revert


@pytest.mark.parametrize("way", [Token.single, Token.batch])
def test_transfer__to_the_zero_address__is_refused(token: Token, way: Callable[..., Any]) -> None:
    assert token.refusal(HOLDER, *way(token, "nobody")) == ("ERC1155InvalidReceiver", ZERO_ADDRESS)


def test_transfer__more_than_the_balance__is_refused(token: Token) -> None:
    expected = ("ERC1155InsufficientBalance", token.at(HOLDER), 700, 701, token.ids[0])
    assert token.refusal(HOLDER, *token.single(FRIEND, 701)) == expected
    expected = ("ERC1155InsufficientBalance", token.at(HOLDER), 300, 301, token.ids[1])
    assert token.refusal(HOLDER, *token.batch(FRIEND, (1, 301))) == expected


def test_batch__one_id_twice__counts_against_the_balance_twice(token: Token) -> None:
    one = token.ids[0]
    call = ("safeBatchTransferFrom", token.at(HOLDER), token.at(FRIEND), [one, one], [400, 301], b"")
    assert token.refusal(HOLDER, *call) == ("ERC1155InsufficientBalance", token.at(HOLDER), 300, 301, one)


@pytest.mark.parametrize(("ids", "values"), [(2, 1), (1, 2), (0, 1), (2, 0)])
def test_batch__lengths_differ__is_refused(token: Token, ids: int, values: int) -> None:
    listed = (list(token.ids)[:ids], [1] * values)
    found = token.refusal(HOLDER, "safeBatchTransferFrom", token.at(HOLDER), token.at(FRIEND), *listed, b"")
    assert found == ("ERC1155InvalidArrayLength", ids, values)


def test_balance_of_batch__lengths_differ__is_refused(token: Token) -> None:
    found = token.refusal(HOLDER, "balanceOfBatch", [token.at(HOLDER)] * 3, list(token.ids))
    assert found == ("ERC1155InvalidArrayLength", 2, 3)


@pytest.mark.parametrize("way", [Token.single, Token.batch])
def test_transfer__by_somebody_not_approved__is_refused(token: Token, way: Callable[..., Any]) -> None:
    expected = ("ERC1155MissingApprovalForAll", token.at(OPERATOR), token.at(HOLDER))
    assert token.refusal(OPERATOR, *way(token, OPERATOR)) == expected
    # Approval by the receiver, or of the holder, is not the holder's.
    token.send(FRIEND, "setApprovalForAll", token.at(OPERATOR), True)
    token.send(OPERATOR, "setApprovalForAll", token.at(HOLDER), True)
    assert token.refusal(OPERATOR, *way(token, FRIEND)) == expected


def test_transfer__approval_taken_back__is_refused(token: Token) -> None:
    token.send(HOLDER, "setApprovalForAll", token.at(OPERATOR), True)
    token.send(OPERATOR, *token.single(FRIEND))
    token.send(HOLDER, "setApprovalForAll", token.at(OPERATOR), False)
    expected = ("ERC1155MissingApprovalForAll", token.at(OPERATOR), token.at(HOLDER))
    assert token.refusal(OPERATOR, *token.single(FRIEND)) == expected


def test_approval__of_nobody__is_refused(token: Token) -> None:
    found = token.refusal(HOLDER, "setApprovalForAll", ZERO_ADDRESS, True)
    assert found == ("ERC1155InvalidOperator", ZERO_ADDRESS)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(erc1155.receiver_code(answer=b"\xff" * 4 + bytes(28)), id="another value"),
        pytest.param(erc1155.receiver_code(answer=bytes(31) + b"\x01"), id="true"),
        pytest.param(erc1155.receiver_code(answer=ON_RECEIVED + b"\x01" + bytes(27)), id="more behind it"),
        pytest.param(erc1155.receiver_code(answer=ON_RECEIVED), id="four bytes"),
        pytest.param(erc1155.receiver_code(answer=b""), id="nothing"),
        pytest.param(erc1155.receiver_code(answer=b"", reverts=True), id="revert without reason"),
        pytest.param(erc1155.receiver_code(answer=TAKEN[0], reverts=True), id="revert with the magic value"),
        pytest.param(b"\xfe", id="all gas burned"),
        pytest.param(b"\x00", id="stop"),
    ],
)
def test_receiver__does_not_accept__nothing_moves(token: Token, code: bytes) -> None:
    target = token.put(code)
    token.refusal(HOLDER, *token.single(RECEIVER))
    token.refusal(HOLDER, *token.batch(RECEIVER))
    token.scene.system.mint(token.at(HOLDER), 10**9)
    token.scene.send(HOLDER, "DemoUSD", "approve", token.at("CreditReserve"), 10**9)
    token.scene.refusal(HOLDER, "CreditReserve", "buy", token.ids[0], 5, target, 10**9)
    assert token.balances(RECEIVER) == (0, 0)


@pytest.mark.parametrize(("way", "other"), [(Token.single, 1), (Token.batch, 0)])
def test_receiver__answers_for_the_other_hook__is_refused(token: Token, way: Any, other: int) -> None:
    target = token.put(erc1155.receiver_code(answer=TAKEN[other]))
    assert token.refusal(HOLDER, *way(token, RECEIVER)) == ("ERC1155InvalidReceiver", target)


def test_receiver__reverts_with_a_reason__reason_is_passed_on(token: Token) -> None:
    reason = erc1155.error_data("Error(string)", "not today")
    token.put(erc1155.receiver_code(answer=reason, reverts=True))
    for way in (token.single(RECEIVER), token.batch(RECEIVER)):
        assert token.refusal(HOLDER, *way) == ("Error", "not today")


def test_receiver__contract_that_knows_no_hook__is_refused(token: Token) -> None:
    for way in (Token.single, Token.batch):
        expected = ("ERC1155InvalidReceiver", token.at("CreditReserve"))
        assert token.refusal(HOLDER, *way(token, "CreditReserve")) == expected


# Transfers


def test_transfer__to_an_account__is_logged_and_moves_the_value(token: Token) -> None:
    found = token.send(HOLDER, *token.single(FRIEND, 700))
    who = token.at(HOLDER), token.at(HOLDER), token.at(FRIEND)
    assert found == [Transfer(*who, token.ids[:1], (700,))]
    assert (token.balances(HOLDER), token.balances(FRIEND)) == ((0, 300), (700, 0))


def test_batch__repeated_ids__are_logged_in_their_order(token: Token) -> None:
    one, two = token.ids
    ids, values = [two, one, two, one], [10, 20, 30, 0]
    found = token.send(HOLDER, "safeBatchTransferFrom", token.at(HOLDER), token.at(FRIEND), ids, values, b"")
    logged = [pair for each in found for pair in zip(each.ids, each.values, strict=True)]
    assert logged == list(zip(ids, values, strict=True))
    assert (token.balances(HOLDER), token.balances(FRIEND)) == ((680, 260), (20, 40))


@pytest.mark.parametrize("way", [Token.single, Token.batch])
def test_transfer__to_oneself__changes_nothing_and_is_logged(token: Token, way: Any) -> None:
    (found,) = token.send(HOLDER, *way(token, HOLDER))
    assert (found.source, found.target, found.values[0]) == (token.at(HOLDER), token.at(HOLDER), 5)
    assert token.balances(HOLDER) == HELD


def test_batch__to_oneself_more_than_held_in_all__is_within_the_balance_each_time(token: Token) -> None:
    one = token.ids[0]
    token.send(
        HOLDER, "safeBatchTransferFrom", token.at(HOLDER), token.at(HOLDER), [one, one], [700, 700], b""
    )
    assert token.balances(HOLDER) == HELD


def test_transfer__of_nothing__is_logged_and_the_receiver_asked(token: Token) -> None:
    token.put(erc1155.receiver_code())
    moved, told = token.send(HOLDER, *token.single(RECEIVER, 0))
    assert (moved.values, told.args[3]) == ((0,), 0)
    moved, told = token.send(HOLDER, *token.batch(RECEIVER, (0, 0)))
    assert (moved.values, told.args[3]) == ((0, 0), (0, 0))
    # Who has none can send none.
    moved, _ = token.send(
        FRIEND, "safeTransferFrom", token.at(FRIEND), token.at(RECEIVER), token.ids[0], 0, b""
    )
    assert (moved.source, moved.values) == (token.at(FRIEND), (0,))


# Receivers


def test_receiver__single__is_called_last_with_what_was_sent(token: Token) -> None:
    asks = [("balanceOf", (token.at(who), token.ids[0])) for who in (HOLDER, RECEIVER)]
    token.put(erc1155.receiver_code(token.contract, asks))
    token.send(HOLDER, "setApprovalForAll", token.at(OPERATOR), True)
    found = token.send(OPERATOR, *token.single(RECEIVER, 123))
    operator, holder, receiver = map(token.at, (OPERATOR, HOLDER, RECEIVER))
    assert found == [
        Transfer(operator, holder, receiver, token.ids[:1], (123,)),
        Told(ON_RECEIVED, (operator, holder, token.ids[0], 123, DATA)),
        Saw(700 - 123),
        Saw(123),
    ]


def test_receiver__batch__is_called_last_with_all_that_was_sent(token: Token) -> None:
    asks = [("balanceOf", (token.at(who), one)) for who in (HOLDER, RECEIVER) for one in token.ids]
    token.put(erc1155.receiver_code(token.contract, asks))
    token.send(HOLDER, "setApprovalForAll", token.at(OPERATOR), True)
    found = token.send(OPERATOR, *token.batch(RECEIVER, (12, 34)))
    operator, holder, receiver = map(token.at, (OPERATOR, HOLDER, RECEIVER))
    assert found == [
        Transfer(operator, holder, receiver, token.ids, (12, 34)),
        Told(ON_BATCH, (operator, holder, token.ids, (12, 34), DATA)),
        *map(Saw, (688, 266, 12, 34)),
    ]


def test_receiver__batch_of_one__every_change_is_told_once(token: Token) -> None:
    token.put(erc1155.receiver_code())
    listed = ([token.ids[1]], [9])
    moved, told = token.send(
        HOLDER, "safeBatchTransferFrom", token.at(HOLDER), token.at(RECEIVER), *listed, DATA
    )
    assert (moved.ids, moved.values) == ((token.ids[1],), (9,))
    single = (token.ids[1], 9) if told.hook == ON_RECEIVED else ((token.ids[1],), (9,))
    assert told.args == (token.at(HOLDER), token.at(HOLDER), *single, DATA)


def test_receiver__sends_on_from_its_hook__balances_are_what_the_logs_say(token: Token) -> None:
    onwards = (token.at(RECEIVER), token.at(FRIEND), token.ids[0], 123, b"")
    token.put(erc1155.receiver_code(token.contract, [("safeTransferFrom", onwards)]))
    found = token.send(HOLDER, *token.single(RECEIVER, 123))
    moves = [(each.source, each.target) for each in found if isinstance(each, Transfer)]
    holder, receiver, friend = map(token.at, (HOLDER, RECEIVER, FRIEND))
    assert moves == [(holder, receiver), (receiver, friend)]
    assert (token.balances(RECEIVER), token.balances(FRIEND)) == ((0, 0), (123, 0))


def test_receiver__neither_approved_nor_asked__is_not_called(token: Token) -> None:
    token.put(erc1155.receiver_code())
    token.send(HOLDER, *token.single(RECEIVER, 9))
    found = token.send(HOLDER, "setApprovalForAll", token.at(RECEIVER), True)
    found += token.send(RECEIVER, "safeTransferFrom", *token.single(FRIEND)[1:])
    assert not [each for each in found if isinstance(each, Told)]


# Approvals


def test_approval__is_for_all_ids_and_for_nobody_else(token: Token) -> None:
    contract, operator = token.contract, token.at(OPERATOR)
    assert not contract.functions.isApprovedForAll(token.at(HOLDER), operator).call()
    token.send(HOLDER, "setApprovalForAll", operator, True)
    assert contract.functions.isApprovedForAll(token.at(HOLDER), operator).call()
    assert not contract.functions.isApprovedForAll(operator, token.at(HOLDER)).call()
    later = token.scene.system.create_class(price_per_million=PRICE)
    token.scene.give(HOLDER, 4, later)
    ids, values = [*token.ids, later], [1, 2, 4]
    (moved,) = token.send(
        OPERATOR, "safeBatchTransferFrom", token.at(HOLDER), token.at(FRIEND), ids, values, b""
    )
    assert (moved.operator, moved.source) == (operator, token.at(HOLDER))
    # Who was approved can't pass that on.
    token.send(OPERATOR, "setApprovalForAll", token.at(FRIEND), True)
    expected = ("ERC1155MissingApprovalForAll", token.at(FRIEND), token.at(HOLDER))
    assert token.refusal(FRIEND, *token.single(FRIEND)) == expected


@pytest.mark.parametrize("approved", [True, False])
def test_approval__is_logged_even_if_nothing_changes(token: Token, approved: bool) -> None:
    system, operator = token.scene.system, token.at(OPERATOR)
    for _ in range(2):
        sent = token.contract.functions.setApprovalForAll(operator, approved).transact(
            {"from": token.at(HOLDER)}
        )
        (log,) = system.mined(sent)["logs"]
        assert [bytes(topic)[-20:] for topic in log["topics"][1:]] == [
            bytes.fromhex(token.at(who)[2:]) for who in (HOLDER, OPERATOR)
        ]
        assert (bytes(log["topics"][0]), int(log["data"].hex(), 16)) == (erc1155.APPROVAL, approved)


def test_balance_of_batch__pairs_in_any_order__equals_balance_of(token: Token) -> None:
    one, two = token.ids
    token.send(HOLDER, *token.single(FRIEND, 50))
    pairs = [(HOLDER, two), (FRIEND, one), (HOLDER, one), (OPERATOR, two), (FRIEND, one), (HOLDER, 999)]
    asked = [token.at(who) for who, _ in pairs], [class_id for _, class_id in pairs]
    assert token.contract.functions.balanceOfBatch(*asked).call() == [300, 50, 650, 0, 50, 0]
    assert token.contract.functions.balanceOfBatch([], []).call() == []
