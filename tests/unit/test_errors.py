"""Messages of errors, and revert data turned into them."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from scrip.errors import BadInput, NodeUnavailable, Refused, Reverted, ScripError, TxUnknown
from scrip.reverts import decode_revert, error_table, from_rpc, known_errors

TOO_MANY = {
    "type": "error",
    "name": "JobMarket_TooManyUnits",
    "inputs": [
        {"name": "jobId", "type": "bytes32"},
        {"name": "given", "type": "uint256"},
        {"name": "limit", "type": "uint256"},
    ],
}
TABLE = error_table([[TOO_MANY]])
JOB = bytes.fromhex("12ab34cd") + bytes(28)


def custom(signature: str, types: list[str], values: list[Any]) -> bytes:
    return bytes(keccak(text=signature)[:4]) + encode(types, values)


def too_many() -> bytes:
    signature = "JobMarket_TooManyUnits(bytes32,uint256,uint256)"
    return custom(signature, ["bytes32", "uint256", "uint256"], [JOB, 70, 60])


def test_bad_input__message__names_field_given_limit_and_next_step() -> None:
    error = BadInput("units", 70, "at most 60", "Open a larger job")
    assert str(error) == "units: given 70, must be at most 60. Open a larger job"
    assert isinstance(error, ScripError)


def test_bad_input__long_value__is_clipped() -> None:
    assert len(str(BadInput("blob", "x" * 10_000, "shorter"))) < 150


def test_refused__message__has_check_and_reason() -> None:
    assert str(Refused("class 9 is not served", "class")) == "refused by class: class 9 is not served"


def test_node_unavailable__message__has_host_only() -> None:
    assert str(NodeUnavailable("rpc.example", "HTTP 503", status=503)) == "node rpc.example: HTTP 503"


def test_tx_unknown__message__has_every_hash() -> None:
    error = TxUnknown("submit", 7, [b"\x01" * 32, b"\x02" * 32])
    assert "0x" + "01" * 32 in str(error)
    assert "0x" + "02" * 32 in str(error)


def test_decode_revert__unknown_selector__keeps_the_data() -> None:
    error = decode_revert(b"\xde\xad\xbe\xef" + bytes(32), TABLE)
    assert (error.name, error.params["data"][:4]) == ("Unknown", b"\xde\xad\xbe\xef")


def test_decode_revert__no_data__is_unknown() -> None:
    assert str(decode_revert(b"", TABLE)) == "Unknown()"


def test_decode_revert__arguments_cut_off__is_unknown() -> None:
    assert decode_revert(too_many()[:40], TABLE).name == "Unknown"


def test_decode_revert__custom_error__has_named_arguments_and_one_line() -> None:
    error = decode_revert(too_many(), TABLE)
    assert error.name == "JobMarket_TooManyUnits"
    assert error.params == {"jobId": JOB, "given": 70, "limit": 60}
    assert str(error) == "JobMarket_TooManyUnits(jobId=0x12ab34cd.., given=70, limit=60)"


def test_decode_revert__large_number__is_shortened_in_the_message_only() -> None:
    data = custom(
        "JobMarket_TooManyUnits(bytes32,uint256,uint256)", ["bytes32", "uint256", "uint256"], [JOB, 2**255, 0]
    )
    error = decode_revert(data, TABLE)
    assert error.params["given"] == 2**255
    assert "given=0x80000000.." in str(error)


def test_decode_revert__mined__names_the_transaction() -> None:
    error = decode_revert(too_many(), TABLE, b"\xaa" * 32)
    assert error.tx_hash == b"\xaa" * 32
    assert str(error).endswith("in transaction 0x" + "aa" * 32)


def test_decode_revert__require_message__is_error() -> None:
    error = decode_revert(custom("Error(string)", ["string"], ["no way"]), TABLE)
    assert str(error) == "Error(reason=no way)"


def test_decode_revert__panic__says_what_it_means() -> None:
    error = decode_revert(custom("Panic(uint256)", ["uint256"], [0x11]), TABLE)
    assert error.params["meaning"] == "arithmetic overflow"


def test_decode_revert__struct_argument__is_decoded() -> None:
    entry = {
        "type": "error",
        "name": "Odd",
        "inputs": [
            {
                "name": "pair",
                "type": "tuple",
                "components": [{"name": "a", "type": "uint8"}, {"name": "b", "type": "bool"}],
            }
        ],
    }
    data = custom("Odd((uint8,bool))", ["(uint8,bool)"], [(3, True)])
    assert decode_revert(data, error_table([[entry]])).params == {"pair": (3, True)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: {"data": text},
        lambda text: {"originalError": {"data": text}},
        lambda text: "Reverted " + text,
    ],
)
def test_from_rpc__data_wrapped_by_the_node__is_found(wrap: Any) -> None:
    error = from_rpc({"code": -32000, "message": "x", "data": wrap("0x" + too_many().hex())}, TABLE)
    assert error is not None
    assert error.params["given"] == 70


@pytest.mark.parametrize("data", [None, "", "0x", "0xzz", "text", 5, {"data": None}, []])
def test_from_rpc__no_usable_data__keeps_the_nodes_message(data: Any) -> None:
    error = from_rpc({"code": 3, "message": "execution reverted: out of luck", "data": data}, TABLE)
    assert error is not None
    assert (error.name, error.params) == ("Unknown", {"message": "execution reverted: out of luck"})


def test_from_rpc__not_about_execution__is_none() -> None:
    assert from_rpc({"code": -32602, "message": "invalid params"}, TABLE) is None


def test_known_errors__exported_abis__hold_every_contracts_errors() -> None:
    names = {entry["name"] for entry in known_errors().values()}
    assert {"JobMarket_TooManyUnits", "CreditReserve_CostAboveMax", "ReceiptVerifier_NotWatcher"} <= names


def test_reverted__params__are_a_copy() -> None:
    params = {"given": 1}
    error = Reverted("X", params)
    params["given"] = 2
    assert error.params == {"given": 1}
