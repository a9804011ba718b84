"""Records of deployments, the plan of addresses, and the comparison of code with what was compiled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scrip import deployments
from scrip.deploying.config import (
    DAY,
    DEMO_BOND,
    DisputeOverrides,
    Overrides,
    TokenOverrides,
    for_chain,
)
from scrip.deploying.plan import CONTRACTS, DEMO_USD, SYSTEM, plan
from scrip.errors import BadInput
from scrip.structs import ZERO_ADDRESS
from scrip.types import Deployment, WatcherSet
from scripts.deployment_check import REFERENCES, code_matches, references
from scripts.deployment_record import (
    Created,
    Progress,
    Record,
    progress_path,
    read_progress,
    read_record,
    record_path,
    write,
)

DEPLOYER = "0x" + "11" * 20
TOKEN = "0x" + "22" * 20
TX = "0x" + "ab" * 32
RECORD = Record(
    deployment=Deployment(31337, 3, {"JobMarket": TOKEN}),
    deployer=DEPLOYER,
    payment_token=TOKEN,
    stake_token=TOKEN,
    created={"JobMarket": Created(4, TX)},
    watcher_sets=(WatcherSet(1, (DEPLOYER, TOKEN), 2),),
    commit="c0ffee",
)
# PUSH1 0x7f, an immutable's place, ADD, PUSH32 of a constant, STOP
CODE = bytes.fromhex("607f" + "7f" + "00" * 32 + "01" + "7f" + "33" * 32 + "00")


def _address(nonce: int) -> str:
    return f"0x{nonce:040x}"


@pytest.mark.parametrize(
    ("where", "byte"),
    [(0, 0x61), (1, 0x7E), (2, 0x7E), (35, 0x02), (37, 0x34), (69, 0x01)],
    ids=["opcode", "pushed value", "PUSH32 itself", "after the immutable", "constant", "last"],
)
def test_code_matches__a_byte_outside_immutables_differs__false(where: int, byte: int) -> None:
    changed = bytearray(CODE)
    changed[where] = byte
    assert not code_matches(bytes(changed), CODE)


@pytest.mark.parametrize("runtime", [b"", CODE[:-1], CODE + b"\0"])
def test_code_matches__another_length__false(runtime: bytes) -> None:
    assert not code_matches(runtime, CODE)


def test_code_matches__nothing_compiled__false() -> None:
    assert not code_matches(b"", b"")


def test_code_matches__immutable_filled_in__true() -> None:
    filled = bytearray(CODE)
    filled[3:35] = bytes.fromhex("44" * 32)
    assert code_matches(bytes(filled), CODE)


@pytest.mark.parametrize("missing", ["deployer", "paymentToken", "stakeToken", "created", "watcherSets"])
def test_read_record__incomplete__raises(tmp_path: Path, missing: str) -> None:
    data = RECORD.to_json()
    del data[missing]
    write(record_path(tmp_path, 31337), data)
    with pytest.raises(BadInput, match=r"a record of scripts\.deploy"):
        read_record(tmp_path, 31337)


def test_read_record__of_another_chain__raises(tmp_path: Path) -> None:
    write(record_path(tmp_path, 1), RECORD.to_json())
    with pytest.raises(BadInput, match="chainId"):
        read_record(tmp_path, 1)


def test_read_record__not_json__raises(tmp_path: Path) -> None:
    record_path(tmp_path, 1).write_text("{")
    with pytest.raises(BadInput, match="JSON"):
        read_record(tmp_path, 1)


def test_read__nothing_there__none(tmp_path: Path) -> None:
    assert read_record(tmp_path, 31337) is None
    assert read_progress(tmp_path, 31337) is None


def test_record__written__read_back_equal_and_by_scrip_too(tmp_path: Path) -> None:
    write(record_path(tmp_path, 31337), RECORD.to_json())
    assert read_record(tmp_path, 31337) == RECORD
    assert deployments.load(tmp_path, 31337) == RECORD.deployment
    assert [path.name for path in tmp_path.iterdir()] == ["31337.json"]


def test_progress__written__read_back_equal(tmp_path: Path) -> None:
    progress = Progress(31337, DEPLOYER, 7, 9, {"JobMarket": Created(10, TX)})
    write(progress_path(tmp_path, 31337), progress.to_json())
    assert read_progress(tmp_path, 31337) == progress


@pytest.mark.parametrize("text", ["{}", "[]", '{"chainId": "1"}'])
def test_read_progress__malformed__raises(tmp_path: Path, text: str) -> None:
    progress_path(tmp_path, 1).write_text(text)
    with pytest.raises(BadInput):
        read_progress(tmp_path, 1)


def test_write__unserialisable__leaves_the_old_file(tmp_path: Path) -> None:
    path = record_path(tmp_path, 1)
    write(path, {"chainId": 1})
    with pytest.raises(TypeError):
        write(path, {"chainId": object()})
    assert json.loads(path.read_text()) == {"chainId": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_plan__demo_token__constructors_get_the_addresses_of_contracts_yet_to_come() -> None:
    steps = plan(for_chain(31337, DEPLOYER), _address, first_nonce=5)
    at = {step.name: step.address for step in steps}
    args = {step.name: step.args for step in steps}
    assert [step.name for step in steps] == [DEMO_USD, *CONTRACTS]
    assert [step.nonce for step in steps] == list(range(5, 16))
    assert all(step.address == _address(step.nonce) for step in steps)
    system = tuple(
        at[name]
        for name in (
            "ComputeCredits", "CreditReserve", "ProviderRegistry", "ReceiptVerifier", "JobMarket",
            "MeteredSessions", "SpendingBudgets", "CreditExchange", "ClassMetadata",
        )
    )  # fmt: skip
    alone = ("ClassMetadata", "ReceiptVerifier", DEMO_USD)
    assert all(args[name][0] == system for name in args if name not in alone)
    assert args["ReceiptVerifier"] == (DEPLOYER, 0, 0, 0)
    assert args["ComputeCredits"][1:] == args["CreditExchange"][1:] == (DEPLOYER, 0, 0)
    assert args["CreditReserve"][1:] == (DEPLOYER, 0, 0, ZERO_ADDRESS)
    assert args["ProviderRegistry"][1:] == (at[DEMO_USD], 60, DEMO_BOND)
    assert args["MeteredSessions"][1:] == (3600,)


def test_plan__payment_token_given__no_demo_token() -> None:
    given = Overrides(tokens=TokenOverrides(payment=TOKEN), disputes=DisputeOverrides(challenge_bond=7))
    config = for_chain(1, DEPLOYER, given)
    steps = plan(config, _address, first_nonce=0)
    assert [step.name for step in steps] == list(CONTRACTS)
    assert {step.name: step.args for step in steps}["ProviderRegistry"][1:] == (TOKEN, 14 * DAY, 7)


def test_plan__system__names_every_contract_that_others_call() -> None:
    # JobLens only reads and is read by nobody here.
    assert set(SYSTEM) == set(CONTRACTS) - {"JobLens"} == set(REFERENCES.values())


def test_references__of_an_abi__those_it_has() -> None:
    abi = [{"type": "function", "name": name} for name in ("CREDITS", "SESSIONS", "owner")]
    abi.append({"type": "event", "name": "MARKET"})
    assert references(abi) == {"CREDITS": "ComputeCredits", "SESSIONS": "MeteredSessions"}
