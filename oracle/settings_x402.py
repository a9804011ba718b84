"""Settings of payments over HTTP (docs/x402.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oracle.settings_fields import Integers, Section


class X402Settings(Section):
    """Credits are sold and jobs are taken by x402, if the section is there and the node has a key.

    Credits of the classes in `sell` are sold at the reserve's price, in purchases of at least `least_amount`
    base units of the payment token: each costs us the gas of two transactions. A payment must be used within
    `timeout_s`; a job's receipt comes within `run_s` after that. A request waits `wait_s` for the chain and
    is then told where to ask.
    """

    sell: Integers = ()
    least_amount: Annotated[int, Field(ge=1, lt=1 << 96)] = 10_000
    timeout_s: Annotated[int, Field(ge=30, le=3_600)] = 300
    run_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 3_600
    wait_s: Annotated[int, Field(ge=1, le=300)] = 25
