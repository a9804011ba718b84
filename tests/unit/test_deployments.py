"""Files with the addresses of a deployment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scrip import deployments
from scrip.errors import BadInput, NotFound, WrongChain
from scrip.types import Deployment

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ONE = Deployment(31337, 3, {"JobMarket": ALICE})


def test_load__no_file__raises_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Deploy the contracts first"):
        deployments.load(tmp_path, 31337)


def test_load__folder_without_chain_id__raises(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="chain_id"):
        deployments.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"chainId": 1}',
        '{"chainId": "1", "block": 0, "contracts": {}}',
        '{"chainId": 1, "block": -1, "contracts": {}}',
        '{"chainId": 1, "block": 0, "contracts": []}',
        '{"chainId": 1, "block": 0, "contracts": {"A": "0x12"}}',
        '{"chainId": 1, "block": 0, "contracts": {}, "explorer": "javascript:alert(1)"}',
    ],
)
def test_load__malformed__raises(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.json").write_text(text)
    with pytest.raises(BadInput):
        deployments.load(tmp_path, 1)


def test_load__file_of_another_chain__raises(tmp_path: Path) -> None:
    path = deployments.save(ONE, tmp_path)
    with pytest.raises(WrongChain, match="on chain 31337, wanted chain 1"):
        deployments.load(path, 1)


def test_load__saved__is_the_same(tmp_path: Path) -> None:
    path = deployments.save(ONE, tmp_path / "new")
    assert path.name == "31337.json"
    assert deployments.load(path) == deployments.load(tmp_path / "new", 31337) == ONE
    assert [item.name for item in path.parent.iterdir()] == ["31337.json"]


def test_load__keys_of_other_writers__are_ignored(tmp_path: Path) -> None:
    (tmp_path / "31337.json").write_text(json.dumps({**deployments.to_json(ONE), "commit": "abc"}))
    assert deployments.load(tmp_path, 31337) == ONE


def test_save__again__replaces(tmp_path: Path) -> None:
    deployments.save(ONE, tmp_path)
    newer = Deployment(31337, 9, {"JobMarket": ALICE})
    deployments.save(newer, tmp_path)
    assert deployments.load(tmp_path, 31337) == newer
