"""Transactions on their way when a deployment begins: waited for, and not for ever."""

from __future__ import annotations

import pytest

from scrip.errors import Refused
from scripts import brownie_node, deployment_steps
from scripts.deployment_steps import PENDING_SECONDS, wait_for_pending

ME = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class Node:
    """Answers with the next counts of transactions, mined and pending ones; the last ones stay."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *counts: tuple[int, int]) -> None:
        self.now = 0.0
        self._counts = list(counts)
        monkeypatch.setattr(brownie_node, "nonce", self._nonce)
        monkeypatch.setattr(deployment_steps.time, "sleep", self._sleep)

    def _nonce(self, account: str, *, pending: bool = False) -> int:
        return self._counts[0][pending]

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self._counts = self._counts[1:] or self._counts


def test_wait_for_pending__never_mined__refused_with_the_nonce_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Node(monkeypatch, (5, 7))
    with pytest.raises(Refused, match=r"nonce 5 is still on its way after 600 s.* Then run this again"):
        wait_for_pending(ME, lambda: node.now)
    assert node.now == PENDING_SECONDS


def test_wait_for_pending__mined_one_by_one__says_how_many_are_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = Node(monkeypatch, (5, 7), (5, 7), (6, 7), (7, 7))
    wait_for_pending(ME, lambda: node.now)
    assert capsys.readouterr().out.splitlines() == [
        f"waiting for 2 of {ME}'s transactions, from nonce 5 on",
        f"waiting for 1 of {ME}'s transactions, from nonce 6 on",
    ]


def test_wait_for_pending__nothing_on_its_way__returns_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = Node(monkeypatch, (5, 5))
    wait_for_pending(ME, lambda: node.now)
    assert (node.now, capsys.readouterr().out) == (0, "")
