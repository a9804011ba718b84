"""Settings of the gateway (docs/gateway.md): what calls cost, and when what they cost is claimed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from oracle.settings_fields import Seconds, Section, parsed
from oracle.settings_upstreams import ServingSettings
from scrip.rates import Rate

Units = Annotated[int, Field(ge=0, lt=1 << 96)]


class RateSettings(Section):
    """What calls of one model cost in one class: base units for 1,000,000 tokens. `cached_input` is by
    default the same as `input`.
    """

    model: Annotated[str, Field(min_length=1, max_length=200)]
    class_id: Annotated[int, Field(ge=1)]
    input: Units
    cached_input: Units | None = None
    output: Units

    @property
    def rate(self) -> Rate:
        """As calls are charged by it."""
        cached = self.input if self.cached_input is None else self.cached_input
        return Rate(self.input, cached, self.output)


class GatewaySettings(ServingSettings):
    """Sessions that are paid by vouchers. `rates` is the rate card; a class without one isn't served.

    Charges of a session are claimed once `claim_units` base units wait, or the oldest has waited
    `claim_age_s`, at most `claim_batch` sessions in a transaction; at once while a close is pending and from
    `claim_margin_s` before the session's expiry, or the end of its class's pay-outs, on. Nothing is served
    while the chain wasn't seen for `max_blind_s`: a close might be pending. What deterministic calls asked
    and were answered is kept for `audit_window_s`; receipts of a closed session for `receipts_kept_s`.
    """

    rates: Annotated[tuple[RateSettings, ...], BeforeValidator(parsed)] = ()
    claim_units: Annotated[int, Field(ge=1, lt=1 << 63)] = 1_000_000
    claim_age_s: Annotated[int, Field(ge=1, le=30 * 86_400)] = 900
    claim_batch: Annotated[int, Field(ge=1, le=200)] = 50
    claim_margin_s: Annotated[int, Field(ge=1, le=30 * 86_400)] = 3_600
    claim_retry_s: Annotated[int, Field(ge=1, le=3_600)] = 5
    max_blind_s: Annotated[int, Field(ge=1, le=3_600)] = 300
    audit_window_s: Seconds = 7 * 86_400
    receipts_kept_s: Annotated[int, Field(ge=86_400, le=10 * 366 * 86_400)] = 366 * 86_400
    max_keys: Annotated[int, Field(ge=0, le=10_000)] = 100

    @model_validator(mode="after")
    def _one_rate_each(self) -> GatewaySettings:
        pairs = [(rate.model, rate.class_id) for rate in self.rates]
        if len(set(pairs)) != len(pairs):
            raise ValueError("rates: a model has two rates in one class")
        return self
