"""What is for sale: models and their rates, as `/v1/models` and the registration file show them."""

from __future__ import annotations

from typing import Any

from oracle.gateway.rates import RateCard
from oracle.settings_gateway import GatewaySettings

Json = dict[str, Any]


class Offer:
    """The models of a gateway, which `provider` (an address) owns and began at `created` (unix seconds)."""

    def __init__(self, settings: GatewaySettings, rates: RateCard, provider: str, created: int) -> None:
        self.settings = settings
        self._rates, self._provider, self._created = rates, provider, created

    def listed(self) -> Json:
        """All models, in the shape of OpenAI's list."""
        return {"object": "list", "data": [self._model(name) for name in self.settings.upstreams]}

    def model(self, name: str) -> Json | None:
        """One model, None if it isn't offered."""
        return self._model(name) if name in self.settings.upstreams else None

    def describe(self) -> list[Json]:
        """The same for the registration file, which has the rates beside it."""
        return [{"model": name, **self._serves(name)} for name in self.settings.upstreams]

    def _model(self, name: str) -> Json:
        rates = [
            {key: value for key, value in rate.items() if key != "model"}
            for rate in self._rates.describe(name)
        ]
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": self._provider,
            "scrip": {**self._serves(name), "rates": rates},
        }

    def _serves(self, name: str) -> Json:
        upstream = self.settings.upstreams[name]
        return {
            "endpoints": [f"/v1/{kind}" for kind in upstream.kinds],
            "contextTokens": upstream.context_tokens,
            "maxTokens": upstream.most_max_tokens,
        }
