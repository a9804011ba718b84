"""The page of costs: fresh, and its formulas against values worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scripts import costs
from scripts.costs import PRICES, arbitrum_data_fee, calldata_bytes, op_stack_fee


def test_page__of_the_measured_gas__is_committed() -> None:
    assert costs.PAGE.read_text("utf-8") == costs.page(json.loads(costs.GAS.read_text("utf-8")))


def test_main__stale_page__fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "page", lambda gas: "other")
    assert costs.main(["--check"]) == 1


def test_op_stack_fee__by_hand__agrees() -> None:
    prices = replace(
        PRICES, base_fee_scalar=1_000, blob_fee_scalar=500_000, ethereum_fee=10**10, blob_fee=10**8
    )
    # 500 bytes: at most 517 compressed; (836500 * 517 - 42585600) * (1000 * 1e10 * 16 + 500000 * 1e8) / 1e12
    assert op_stack_fee(500, prices) == 389_884_900 * (16 * 10**13 + 5 * 10**13) // 10**12
    # Below the least size of a transaction the formula counts 100 bytes.
    assert op_stack_fee(50, prices) == 100 * 10**6 * 21 * 10**13 // 10**12


def test_arbitrum_data_fee__bytes__times_the_fee_of_one() -> None:
    assert arbitrum_data_fee(100, replace(PRICES, arbitrum_fee_per_byte=7)) == 700


def test_calldata_bytes__of_a_transfer__counts_each_word() -> None:
    # Selector; from, to, id, amount; offset, length and 65 bytes of data in three words.
    assert calldata_bytes("ComputeCredits", "safeTransferFrom") == 4 + 4 * 32 + 2 * 32 + 3 * 32
