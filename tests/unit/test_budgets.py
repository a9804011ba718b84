"""What a budget's spender is told."""

from __future__ import annotations

from typing import Any

import pytest

from scrip import budgets
from scrip.budgets import BudgetRefused, Level
from scrip.errors import Reverted
from scrip.structs import ZERO_ADDRESS
from scrip.types_spending import NO_CAP, Budget, Limits

PAYEE = "0x" + "33" * 20


def level(number: int = 1, **changes: Any) -> Level:
    caps = {"per_action": 50, "per_period": 80, "lifetime": 200, "period": 60, "expiry": 0, "listed": False}
    limits = Limits(spender=PAYEE, **{name: changes.pop(name, value) for name, value in caps.items()})
    node = Budget(PAYEE, PAYEE, 0, 1, changes.pop("revoked", False), limits, 0, 0, 0)
    given = {"period_left": 80, "left": 200, "expired": False, "lists": None} | changes
    return Level(number, node, **given)


@pytest.mark.parametrize(
    ("tree", "asked", "before", "expected"),
    [
        ([level(revoked=True)], 1, 0, (1, "Revoked", 1, 0)),
        ([level(expired=True)], 1, 0, (1, "Expired", None, None)),
        ([level(lists=frozenset())], 1, 0, (1, "ProviderNotListed", None, None)),
        ([level()], 51, 0, (1, "OverAction", 51, 50)),
        ([level(period_left=9)], 10, 0, (1, "OverPeriod", 10, 9)),
        ([level(left=9)], 10, 0, (1, "OverLifetime", 10, 9)),
        ([level(left=30)], 20, 15, (1, "OverLifetime", 20, 15)),
        ([level(2), level(1, left=9)], 10, 0, (1, "OverLifetime", 10, 9)),
        ([level(2, left=8), level(1, revoked=True)], 10, 0, (2, "OverLifetime", 10, 8)),
    ],
)
def test_check__charge_does_not_fit__names_the_level_asked_and_left(
    tree: list[Level], asked: int, before: int, expected: tuple[Any, ...]
) -> None:
    with pytest.raises(BudgetRefused) as caught:
        budgets.check(tree, PAYEE, asked, before=before)
    error = caught.value
    assert (error.level, error.reason, error.asked, error.left) == expected


def test_check__charge_fits_every_level__is_admitted() -> None:
    tree = [level(2, lists=frozenset({PAYEE})), level(1, per_action=NO_CAP)]
    budgets.check(tree, PAYEE, 50, before=30)
    assert budgets.left(tree) == 80
    assert budgets.left([level(2), level(1, expired=True)]) == 0


@pytest.mark.parametrize(
    ("name", "given", "limit", "expected"),
    [
        ("OverPeriod", 7, 5, "budget 4: over what is left in this period: asked 7, left 5. Wait"),
        ("Revoked", 7, 0, "budget 4: it is revoked: asked 7, left 0. A revoked budget stays so"),
        ("Expired", 1_800, 1_700, "budget 4: it has expired. Ask its controller"),
        ("ProviderNotListed", PAYEE, ZERO_ADDRESS, "budget 4: it doesn't list this provider"),
        ("SomethingNew", 1, 2, "budget 4: SomethingNew"),
    ],
)
def test_refusal__revert_of_the_budgets__is_put_into_words(
    name: str, given: Any, limit: Any, expected: str
) -> None:
    found = budgets.refusal(
        Reverted(f"SpendingBudgets_{name}", {"budgetId": 4, "given": given, "limit": limit})
    )
    assert found is not None
    assert str(found).startswith(expected)


def test_refusal__another_contracts_revert__is_none() -> None:
    assert budgets.refusal(Reverted("JobMarket_CannotServe", {"jobId": bytes(32)})) is None
