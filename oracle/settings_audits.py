"""Settings of a watcher's audits (docs/gateway.md): which classes, how many calls, and by which servers."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator

from oracle.settings_fields import Count, Integers, Urls
from oracle.settings_upstreams import ServingSettings, Wait

MOST_PPM: Final = 1_000_000


class AuditSettings(ServingSettings):
    """A watcher that audits calls of these `classes`, of which it is a watcher or an arbiter.

    `upstreams` are its own inference servers, by the name a model is sold under: calls of others can't be
    judged. `rate_ppm` in a million calls are run again, within `rerun_s_per_hour` seconds; the node doesn't
    start at a rate at which overcharging pays (`oracle.audits.odds`). It looks every `interval_s`. `arbiters`
    are the URLs of the others who sign verdicts, each of whom may take `sign_s` to run the calls again.
    """

    classes: Annotated[Integers, Field(min_length=1)]
    rate_ppm: Annotated[int, Field(ge=1, le=MOST_PPM)] = 200_000
    interval_s: Wait = 60
    rerun_s_per_hour: Annotated[int, Field(ge=1, le=10_000_000)] = 3_600
    arbiters: Urls = ()
    sign_s: Wait = 300
    most_sessions: Count = 1_000

    @model_validator(mode="after")
    def _can_run(self) -> AuditSettings:
        if not self.upstreams:
            raise ValueError("upstreams: missing, calls are run again by servers of the watcher's own")
        return self
