"""Settings of the operator's page (docs/operator.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oracle.settings_fields import MaybePath, Section


class OperatorSettings(Section):
    """`token_file` holds the token that lets one in, 64 hex digits; by default `operator.token` in the state
    folder, drawn at the first start. At most `viewers` may look at once.
    """

    token_file: MaybePath = None
    viewers: Annotated[int, Field(ge=1, le=1_000)] = 8
