"""The rate card: what a provider charges for its models, by class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oracle.gateway.refusals import ModelRefused
from oracle.settings_gateway import RateSettings
from scrip.rates import Rate


class RateCard:
    """Rates by class and model, fixed while the node runs."""

    def __init__(self, rates: Iterable[RateSettings]) -> None:
        self._rates = {(item.class_id, item.model): item.rate for item in rates}
        self.classes = frozenset(class_id for class_id, _ in self._rates)
        self.models = tuple(dict.fromkeys(model for _, model in self._rates))

    def rate(self, class_id: int, model: str) -> Rate:
        """The rate of a model in a class. Raises ModelRefused."""
        found = self._rates.get((class_id, model))
        if found is None:
            offered = ", ".join(name for item, name in self._rates if item == class_id) or "no model"
            raise ModelRefused(
                f"model {model[:100]!r} isn't offered for credits of class {class_id}: offered is {offered}",
                model[:100], offered, "model",
            )  # fmt: skip
        return found

    def describe(self, model: str | None = None) -> list[dict[str, Any]]:
        """The card, or one model's part of it, as the API and the registration file show it: base units for
        1,000,000 tokens.
        """
        return [
            {"model": name, "classId": str(class_id), **rate.to_json()}
            for (class_id, name), rate in self._rates.items()
            if model is None or name == model
        ]
