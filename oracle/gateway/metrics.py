"""Prometheus metrics of the gateway (docs/operations.md says what each means)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class GatewayMetrics:
    """What session accounts count, since the process began. Units are base units of any class."""

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        self.calls = Counter("scrip_gateway_calls", "Calls that were charged", ["model"], registry=r)
        self.tokens = Counter(
            "scrip_gateway_tokens", "Tokens of charged calls (cached is part of input)", ["kind"], registry=r
        )
        self.units = Counter("scrip_gateway_units", "Units charged", registry=r)
        self.reserved = Gauge("scrip_gateway_reserved_units", "Units that calls in progress hold", registry=r)
        self.unstored = Gauge(
            "scrip_gateway_unstored_charges", "Logged charges that the database doesn't have yet", registry=r
        )
        self.over = Counter(
            "scrip_gateway_overruns", "Calls that used more than they had reserved", registry=r
        )
        self.refused = Counter("scrip_gateway_refusals", "Calls refused, by code", ["code"], registry=r)
        self.claims = Counter(
            "scrip_gateway_claims", "Sessions in claims, by what became of them", ["result"], registry=r
        )
        self.lost = Counter(
            "scrip_gateway_lost_units", "Units charged in sessions that closed before the claim", registry=r
        )
        self.sessions = Gauge("scrip_gateway_sessions", "Sessions that aren't closed", registry=r)
        self.seen = Gauge(
            "scrip_gateway_chain_seen_unix_seconds", "When sessions were last compared with the chain",
            registry=r,
        )  # fmt: skip
