"""The published vectors of EIP-712 messages: up to date, and of every message there is."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

from scrip import eip712, eip712_budgets, eip712_credits, eip712_sessions, eip712_watchers
from scripts import eip712_files

MODULES = (eip712, eip712_budgets, eip712_credits, eip712_sessions, eip712_watchers)
# No message of its own: what every message is bound to, and a struct inside others.
PARTS = {"DOMAIN_TYPE", "LIMITS_TYPE"}


def test_vectors__of_the_repository__are_up_to_date() -> None:
    wanted = json.dumps(eip712_files.vectors(), indent=1) + "\n"
    assert eip712_files.VECTORS.read_text() == wanted, "run: python -m scripts.eip712_files"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_vectors__every_type_string_of_the_module__has_some(module: ModuleType) -> None:
    types = {value for name, value in vars(module).items() if name.endswith("_TYPE") and name not in PARTS}
    assert types <= {type_string for _, type_string, _ in eip712_files.messages().values()}
    assert types


def test_vectors__cases__differ_for_every_message() -> None:
    digests = [row["digest"] for row in eip712_files.vectors()["messages"]]
    assert len(digests) == len(set(digests)) == len(eip712_files.CASES) * len(eip712_files.messages())
