"""What the gateway counts (docs/operations.md says what each means to an operator)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from oracle.gateway.counting import Agreed
from oracle.logging import get

_log = get(__name__)


class CallCounters:
    """How calls ended, and where two counts of their tokens differed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "scrip_gateway_calls_ended", "Calls that were begun, by how they ended", ["model", "result"],
            registry=registry,
        )  # fmt: skip
        self._differed = Counter(
            "scrip_gateway_count_differences", "Counts on which server and gateway differed",
            ["model", "count"], registry=registry,
        )  # fmt: skip

    def ended(self, model: str, agreed: Agreed, result: str) -> None:
        """Note how a call ended, and what was agreed on."""
        self._calls.labels(model, result).inc()
        for text in agreed.disagreements:
            self._differed.labels(model, text.partition(":")[0]).inc()
            _log.warning("counts differ, the lower one is charged", model=model, reason=text)
