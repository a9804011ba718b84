"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from oracle.store import Store


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A node's store at second 1, on each database."""
    from oracle.store import Store

    made = Store.open(database_url, lambda: 1_000)
    yield made
    made.close()
