"""From an exception to a tool's error: what, why, the limit, the next step. Never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agents.buyer import Unverified
from agents.ledger import LimitReached
from agents.mcp.errands import Stopped
from scrip.budgets import BudgetRefused
from scrip.cli.failures import explain, one_line
from scrip.cli.output import Token
from scrip.errors import ScripError, TxUnknown
from scrip.redeem import NotFinished

if TYPE_CHECKING:
    from pydantic import ValidationError

MOST: Final = 2_000
"""Characters of a message: reasons come from providers as well."""

_AGAIN = "Call again with the same arguments and idempotency_key: it goes on, and nothing is paid twice"


def words(problem: ScripError, token: Token) -> str:
    """The message of a known problem."""
    if isinstance(problem, LimitReached):
        text = (
            f"spending limit: asked {token.text(problem.asked)}, left {token.text(problem.left)} of "
            f"{token.text(problem.limit)}. Ask for less, or have the server started with a higher --limit"
        )
    elif isinstance(problem, BudgetRefused) and problem.asked is not None and problem.left is not None:
        amounts = f"asked {problem.asked}, left {problem.left}"
        shown = f"asked {token.text(problem.asked)}, left {token.text(problem.left)}"
        text = str(problem).replace(amounts, shown)
    elif isinstance(problem, Unverified):
        text = f"{problem}. Keep the job's id for a dispute"
    elif isinstance(problem, (NotFinished, TxUnknown, Stopped)):
        text = f"{problem}. {_AGAIN}"
    else:
        text = explain(problem)
    return one_line(text)[:MOST]


def wrong_arguments(tool: str, problem: ValidationError) -> str:
    """What is wrong with a call's arguments, in one line for each."""
    found = []
    for item in problem.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"]) or "arguments"
        given = "" if item["type"] == "missing" else f", given {item['input']!r:.60}"
        found.append(f"{name}: {item['msg']}{given}")
    return one_line(f"{tool}: {'; '.join(found)}. Its input schema says what it takes")[:MOST]


def unknown_arguments(tool: str, given: list[str], known: list[str]) -> str:
    """What is wrong with arguments that a tool doesn't have: ignored, they would change what is bought."""
    return one_line(f"{tool}: no argument {', '.join(given)}. It takes {', '.join(known)}")[:MOST]


def structured(kind: str, message: str, limits: Any) -> dict[str, Any]:
    """The same for programs, with what is left."""
    return {"error": {"type": kind, "message": message, "limits": limits}}
