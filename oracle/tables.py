"""Every table of the store, wherever it is declared: what migrations are compared with, and moves copy."""

from __future__ import annotations

from typing import Any, Final

from oracle import models_x402 as x402
from oracle.admission import tables as admission
from oracle.audits import tables as audits
from oracle.gateway import tables as gateway
from oracle.models import Base

TABLES: Final[Any] = Base.metadata

__all__ = ["TABLES", "admission", "audits", "gateway", "x402"]
