"""From an exception to one line on stderr and an exit status.

0 done; 1 a known problem; 2 wrong usage; 70 a bug of ours (EX_SOFTWARE of sysexits.h); 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import typer

from scrip.cli.output import clean, print_json, utc
from scrip.errors import Reverted, ScripError

FAILED, USAGE, BUG, INTERRUPTED, BROKEN_PIPE = 1, 2, 70, 130, 141
DEBUG = "SCRIP_DEBUG"
"""Variable that makes errors show their traceback."""

# By class name, because importing the classes would import web3.
_HINTS = {
    "NodeUnavailable": "Is a node running there? Name another with --rpc or SCRIP_RPC",
    "WrongChain": "Name the right file with --deployment, or another node with --rpc",
    "TxUnknown": "The next command that sends finishes it first",
    "TxLost": "Run the command again",
    "ProviderUnreachable": "Try again later, or choose another: scrip provider list",
    "EvidenceInvalid": "Don't trust the output; keep the job's id for a dispute",
}

# What a revert means to the person at the keyboard, and what to do about it.
_REVERTS = {
    "ComputeCredits_AccountBound": "The credits of this class can't be transferred",
    "ComputeCredits_BadTerm": "That is the term {term}. See: scrip class create --help",
    "ComputeCredits_Closed": "The class is closed. See: scrip class list",
    "ComputeCredits_Expired": "The class has expired. See: scrip class list",
    "ComputeCredits_HolderCap": "The class limits what one account may hold. See: scrip class show",
    "AccessControlUnauthorizedAccount": "Your account doesn't have the role for this on the contract",
    "ComputeCredits_NotIssuer": "Only its issuer may; what stake or capacity binds, only its issuer serves",
    "ComputeCredits_UnknownSet": "No such watcher set is active. See: scrip watcher list",
    "ComputeCredits_WrongFunding": "Credits of a class that is sold can only be bought. See: scrip buy",
    "ComputeCredits_NotEligible": "The class admits only accounts its issuer approved",
    "ComputeCredits_Paused": "Sales and new jobs of the class are paused until {until}",
    "ComputeCredits_SupplyCap": "Fewer credits are left to sell. See: scrip class show",
    "CreditExchange_Cancelled": "Its maker has taken it back. See: scrip offer show",
    "CreditExchange_Expired": "The offer has expired. See: scrip offer show",
    "CreditExchange_NotTaker": "The offer is for another account. See: scrip offer show",
    "CreditExchange_OverFill": "Less is left of the offer. See: scrip offer show",
    "CreditExchange_OverLimit": "It costs more than --limit allows",
    "CreditExchange_UnderLimit": "It pays less than --limit asks",
    "CreditExchange_WrongEpoch": "Its maker has taken back all offers of that time. See: scrip offer show",
    "CreditReserve_InsufficientEarnings": "Less than that is earned. See: scrip provider earnings",
    "CreditReserve_NotWoundDown": "Credits can be reclaimed once the class is closed or expired",
    "CreditReserve_TooEarly": "That is possible 180 days after the class expired",
    "CreditReserve_BadPrice": "The class's price feed has no fresh price. Try again later",
    "CreditReserve_CostAboveMax": "The price rose meanwhile. Run it again, or raise --max-cost",
    "CreditReserve_NotForSale": "The class isn't for sale. See: scrip class list",
    "CreditReserve_PriceDeviates": "The feed's price is outside what the class allows. Try again later",
    "CreditReserve_SequencerDown": "The chain has only just recovered from an outage. Try again later",
    "ERC1155InsufficientBalance": "You have too few free credits. See: scrip balance",
    "JobMarket_CannotServe": "The provider may not serve this class. See: scrip provider list",
    "JobMarket_DeadlineNotReached": "Its deadline is {until}; only after that can it be expired",
    "JobMarket_DeadlinePassed": "The job's deadline has passed. Plan it anew",
    "JobMarket_NotParty": "Only its payer, while it is open, or its provider may do this",
    "JobMarket_NotPayer": "Only the job's payer may do this, with its own key",
    "JobMarket_WrongStatus": "The job is {status}. See: scrip job show",
    "JobMarket_BadSignature": "Not enough of the class's arbiters, or others, have signed",
    "MeteredSessions_CannotServe": "The provider may not serve this class. See: scrip provider list",
    "MeteredSessions_NotParty": "Only its payer, its key or its budget's spender may do this",
    "PriceFeed_Deviates": "A round may move the price only so far. Sign one that is nearer",
    "PriceFeed_TooOld": "Prices are posted within an hour. Sign a fresh one",
    "PriceFeed_WrongRound": "Another price was posted meanwhile. Sign a fresh one",
    "ProviderRegistry_AlreadyRegistered": "Change it instead: scrip provider update",
    "ProviderRegistry_InsufficientStake": "Less than that is staked. See: scrip provider show",
    "ProviderRegistry_NotRegistered": "First: scrip provider register",
    "ProviderRegistry_StaleAttestation": "Observe anew: it must be newer than the last one, and fresh",
    "ProviderRegistry_StakeExceeded": "Too little of the provider's stake is free",
    "ProviderRegistry_StillBonded": "The stake is free from {until} on",
    "ProviderRegistry_ZeroAmount": "There is nothing to pay out, or nothing was asked",
    "ReceiptVerifier_NotProposed": "Propose the very same members first: scrip watcher propose",
    "ReceiptVerifier_NotWatcher": "That account isn't in the set. See: scrip watcher show",
    "ReceiptVerifier_TooFewWatchers": "More watchers must sign. See: scrip watcher show",
    "ReceiptVerifier_TooEarly": "It can be activated from {until} on",
    "SpendingBudgets_NotController": "Only the tree's owner or the parent's spender may do this",
}


def guarded(action: Callable[[], object], *, as_json: bool) -> int:
    """Run `action` and return the exit status; whatever it raises becomes one line on stderr."""
    try:
        action()
        sys.stdout.flush()
        return 0
    except typer.Exit as done:
        return int(done.exit_code)
    except (typer.Abort, KeyboardInterrupt) as stop:
        _report("Interrupted", str(stop) or "interrupted", as_json=as_json)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader left (`scrip class list | head -1`). Nothing can be said to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except typer.TyperException as wrong:
        if wrong.format_message():  # empty where the help was shown in place of an error
            _report("Usage", _usage(wrong), as_json=as_json)
        return wrong.exit_code
    except ScripError as problem:
        _trace()
        _report(type(problem).__name__, explain(problem), as_json=as_json)
        return FAILED
    except Exception as bug:
        _trace()
        _report(type(bug).__name__, _bug(bug), as_json=as_json)
        return BUG


def explain(problem: ScripError) -> str:
    """The message with the next step, where there is one and the message doesn't say it yet."""
    if isinstance(problem, Reverted):
        hint = _REVERTS.get(problem.name, "").format(**_words(problem))
    else:
        names = [kind.__name__ for kind in type(problem).__mro__]
        hint = next((_HINTS[name] for name in names if name in _HINTS), "")
    message = str(problem).rstrip(". ")
    return f"{message}. {hint}" if hint else message


def _words(problem: Reverted) -> dict[str, str]:
    """A custom error's numbers in words, for the hints that use them."""
    from scrip.structs import camel
    from scrip.types import ClassTerms, Status

    terms = [camel(column) for column in ClassTerms.__dataclass_fields__]
    given, limit = problem.params.get("given"), problem.params.get("limit")
    named = isinstance(given, int) and given in list(Status)
    status = Status(int(given or 0)).name.lower() if named else str(given)
    return {
        # Of a job that was opened: its slot is empty.
        "status": "over" if given == Status.NONE else status,
        "term": terms[field] if isinstance(field := problem.params.get("field"), int) else "",
        "until": utc(limit) if isinstance(limit, int) else str(limit),
    }


def one_line(text: str) -> str:
    """`text` on one line, harmless to a terminal."""
    return clean("; ".join(line.strip() for line in text.splitlines() if line.strip()))


def _usage(wrong: typer.TyperException) -> str:
    context = getattr(wrong, "ctx", None)
    message = wrong.format_message().rstrip(".")
    return f"{message}. See: {context.command_path} --help" if context is not None else message


def _bug(bug: Exception) -> str:
    again = "" if os.environ.get(DEBUG) else f". Set {DEBUG}=1 to see where"
    return f"unexpected {type(bug).__name__}: {str(bug)[:300] or 'no message'}{again}"


def _report(kind: str, message: str, *, as_json: bool) -> None:
    line = one_line(message)
    if as_json:
        print_json({"error": {"type": kind, "message": line}}, stderr=True)
    else:
        sys.stderr.write(f"error: {line}\n" if kind != "Interrupted" else f"{line}\n")
        sys.stderr.flush()


def _trace() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()
