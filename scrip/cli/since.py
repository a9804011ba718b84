"""`--since`: where a scan of the chain starts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from scrip.errors import BadInput

if TYPE_CHECKING:
    from scrip.view import ChainView

SINCE_HELP: Final = "From a block, a date (2026-01-31) or so long ago (36h, 7d)."
_AGO: Final = re.compile(r"([0-9]{1,6})([hd])\Z")
_SECONDS: Final = {"h": 3_600, "d": 86_400}


def first_block(view: ChainView, since: str | None) -> int:
    """The block that `--since` means, the deployment's by default. Raises BadInput."""
    from scrip.verify import block_at

    start = view.chain.deployment.block
    if since is None:
        return start
    if since.isdigit() and len(since) <= 15:
        return max(start, int(since))
    ago = _AGO.match(since)
    moment = view.time() - int(ago.group(1)) * _SECONDS[ago.group(2)] if ago else _date(since)
    return max(start, block_at(view.chain, moment, view.block))


def _date(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("--since", text, "a block, a date such as 2026-01-31, or 36h or 7d") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
