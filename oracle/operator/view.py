"""What the operator's page shows, as JSON: pure functions of what was read.

Amounts, units and energy are exact integers as decimal text, each beside the one text that people are shown;
the page itself counts nothing. Times are unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from oracle.models import JobRow
from oracle.operator.book import Books
from oracle.operator.figures import Figures, Paid
from oracle.quorum import Standing
from oracle.states import State
from oracle.telemetry.latest import GpuNow
from scrip.amounts import format_units
from scrip.chargeback.sums import PerMillion, Sum, per_million
from scrip.cli.output import Token, clean
from scrip.rates import Rate
from scrip.types import ClassTerms

Json = dict[str, Any]

QUEUE: Final = (State.QUOTED, State.OPEN, State.ACCEPTING, State.QUEUED)
"""Jobs that wait for their turn."""
UNSIGNED: Final = (State.METERED, State.SIGNING)
"""Jobs whose receipt lacks signatures, or waits to be signed together with others."""
WATCHED: Final = 2
"""Assurance from which on watchers sign."""
_GIB: Final = 1 << 30


# GPUs


def gpus(found: Iterable[GpuNow], running: frozenset[bytes]) -> list[Json]:
    """Each GPU as last read. `running` are the jobs that run now."""
    return [_gpu(gpu, running) for gpu in found]


def _gpu(gpu: GpuNow, running: frozenset[bytes]) -> Json:
    used = None if gpu.energy_mj is None or gpu.first_mj is None else max(0, gpu.energy_mj - gpu.first_mj)
    return {
        "uuid": gpu.uuid,
        "name": clean(gpu.name),
        "utilPct": gpu.util_pct,
        "powerMw": _text(gpu.power_mw),
        "power": None if gpu.power_mw is None else f"{_rounded(Fraction(gpu.power_mw, 1_000), 1)} W",
        "energyMj": _text(gpu.energy_mj),
        "usedMj": _text(used),
        "used": None if used is None else energy(used),
        "memoryBytes": _text(gpu.memory_bytes),
        "memory": None if gpu.memory_bytes is None else _memory(gpu.memory_bytes, gpu.memory_total),
        "jobs": sorted(_hex(job) for job in gpu.jobs & running),
        "atMs": gpu.at_ms,
        "problem": clean(gpu.problem),
    }


def energy(millijoules: int) -> str:
    """Energy for people: J, kJ, MJ, to a thousandth."""
    for scale, unit in ((10**9, "MJ"), (10**6, "kJ")):
        if millijoules >= scale:
            return f"{_rounded(Fraction(millijoules, scale), 3)} {unit}"
    return f"{format_units(millijoules, 3)} J"


def _memory(used: int, total: int) -> str:
    of = f" of {_rounded(Fraction(total, _GIB), 0)}" if total else ""
    return f"{_rounded(Fraction(used, _GIB), 1)}{of} GiB"


# Jobs


def jobs(books: Books, figures: Figures) -> Json:
    """Jobs that go on, then those that ended last, and how many there are in each state."""
    since = {step.job_id: step.at_ms for step in reversed(books.steps)}
    active = sorted(books.active, key=lambda row: (row.created_ms, row.job_id), reverse=True)
    return {
        "counts": {state.value: count for state, count in books.counts.items() if count},
        "rows": [job(row, figures, since.get(row.job_id, row.updated_ms)) for row in (*active, *books.ended)],
    }


def queue(books: Books, figures: Figures, *, slots: int, places: int) -> Json:
    """Who waits, the oldest first. `slots` jobs run at once, `places` more may wait."""
    waiting = [row for row in books.active if row.at in QUEUE]
    return {
        "running": sum(row.at is State.EXECUTING for row in books.active),
        "waiting": len(waiting),
        "slots": slots,
        "places": places,
        "rows": [job(row, figures, row.created_ms) for row in waiting],
    }


def job(row: JobRow, figures: Figures, since_ms: int) -> Json:
    """One job."""
    terms = figures.classes.get(row.terms.class_id)
    used = None if row.receipt is None else row.receipt.units
    return {
        "id": _hex(row.job_id),
        "state": row.state,
        "final": row.at.final,
        "class": class_name(row.terms.class_id, terms),
        "units": None if used is None else _units(used, terms),
        "most": _units(row.terms.max_units, terms),
        "buyer": row.terms.payer,
        "attempt": row.attempt,
        "simulated": row.simulated,
        "reason": clean(row.reason),
        "sinceMs": since_ms,
    }


def class_name(class_id: int, terms: ClassTerms | None) -> Json:
    """A class as people know it."""
    name = f"class {class_id}" if terms is None else clean(terms.name) or f"class {class_id}"
    return {"id": str(class_id), "name": name, "resource": None if terms is None else terms.resource.label}


# Receipts


def receipts(books: Books, figures: Figures, standing: Callable[[bytes], Standing | None]) -> list[Json]:
    """Receipts that wait for signatures, the oldest first, and whose."""
    rows = [row for row in books.active if row.at in UNSIGNED and row.receipt is not None]
    return [_receipt(row, books, figures, standing(row.job_id)) for row in rows]


def _receipt(row: JobRow, books: Books, figures: Figures, vote: Standing | None) -> Json:
    terms, receipt = figures.classes.get(row.terms.class_id), row.receipt
    assert receipt is not None  # noqa: S101 (`receipts` takes no others)
    set_id = watcher_set(row, books, figures)
    members = figures.watchers.get(set_id, ()) if set_id else ()
    bound = books.settlements.get(row.settlement_id or 0)
    reasons = [clean(row.reason), *(() if vote is None else map(clean, vote.failures))]
    return {
        "id": _hex(row.job_id),
        "state": row.state,
        "class": class_name(row.terms.class_id, terms),
        "units": _units(receipt.units, terms),
        "energyMj": str(receipt.gpu_millijoules),
        "assurance": receipt.assurance,
        "threshold": 0 if vote is None else vote.threshold,
        "watcherSet": str(set_id),
        "watchers": [_watcher(account, vote) for account in members],
        "tries": row.tries if bound is None else bound.tries,
        "notes": [reason for reason in dict.fromkeys(reasons) if reason],
        "sinceMs": row.exited_ms,
    }


def watcher_set(row: JobRow, books: Books, figures: Figures) -> int:
    """The set that must sign a job's receipt, 0 for none, or if its class isn't known yet."""
    if (bound := books.settlements.get(row.settlement_id or 0)) is not None:
        return bound.watcher_set
    terms = figures.classes.get(row.terms.class_id)
    watched = row.receipt is not None and row.receipt.assurance >= WATCHED
    return terms.watcher_set if watched and terms is not None else 0


def _watcher(account: str, vote: Standing | None) -> Json:
    if vote is not None and account in vote.signed:
        return {"address": account, "state": "signed", "reason": ""}
    if vote is not None and account in vote.refused:
        return {"address": account, "state": "refused", "reason": clean(vote.refused[account])}
    return {"address": account, "state": "missing", "reason": ""}


# Money


def earnings(figures: Figures, problem: str) -> Json:
    """What was settled and can be withdrawn, by payment token and by class. `problem` says why the chain
    couldn't be asked, "" if it could.
    """
    return {
        "block": _text(figures.block),
        "problem": clean(problem),
        "tokens": [
            {
                "token": purse.token.address,
                "symbol": purse.token.symbol,
                "settled": money(purse.settled, purse.token),
                "withdrawable": money(purse.waiting - purse.fee, purse.token),
                "fee": money(purse.fee, purse.token),
                "withdrawn": money(purse.withdrawn, purse.token),
            }
            for purse in figures.purses
        ],
        "classes": [_class_row(class_id, paid, figures) for class_id, paid in sorted(figures.paid.items())],
    }


def _class_row(class_id: int, paid: Paid, figures: Figures) -> Json:
    terms = figures.classes[class_id]
    return {
        "class": class_name(class_id, terms),
        "units": _units(paid.units, terms),
        "amount": money(paid.amount, figures.tokens[terms.payment_token]),
    }


def costs(sums: Mapping[int, Sum], figures: Figures, rates: Mapping[int, Sequence[Rate]]) -> list[Json]:
    """Per million tokens of each class that has paid: money, at what its units brought on average,
    GPU-seconds and joules. `rates` are the gateway's prices by class: one alone says what input, cached input
    and output are of the whole.
    """
    rows = []
    for class_id, found in sorted(sums.items()):
        paid, terms = figures.paid.get(class_id), figures.classes.get(class_id)
        if terms is None or paid is None or not paid.units:
            continue
        priced = Sum(tokens=found.tokens, told_units=found.told_units)
        priced.powered_energy, priced.powered_tokens = found.powered_energy, found.powered_tokens
        priced.told_amount = paid.amount * found.told_units // paid.units
        known = rates.get(class_id, ())
        cost = per_million(priced, terms, known[0] if len(known) == 1 else None)
        if cost is not None:
            rows.append(_cost_row(class_id, found, cost, figures))
    return rows


def _cost_row(class_id: int, found: Sum, cost: PerMillion, figures: Figures) -> Json:
    terms = figures.classes[class_id]
    token = figures.tokens[terms.payment_token]

    def price(value: Fraction | None) -> str | None:
        shown = None if value is None else _shown(value / 10**token.decimals, token.decimals)
        return None if shown is None else f"{shown} {token.symbol}"

    return {
        "class": class_name(class_id, terms),
        "served": found.count,
        "inputTokens": str(found.tokens.input),
        "cachedTokens": str(found.tokens.cached),
        "outputTokens": str(found.tokens.output),
        "input": price(cost.input),
        "cached": price(cost.cached),
        "output": price(cost.output),
        "blended": price(cost.blended),
        "gpuSeconds": None if cost.gpu_seconds is None else _shown(cost.gpu_seconds, 3),
        "joules": None if cost.joules is None else _shown(cost.joules, 3),
    }


def money(amount: int, token: Token) -> Json:
    """An amount, exactly and for people."""
    return {"baseUnits": str(amount), "text": token.text(amount)}


def _units(units: int, terms: ClassTerms | None) -> Json:
    """Units of a class; in base units where its decimals aren't known yet."""
    return {"units": str(units), "text": str(units) if terms is None else format_units(units, terms.decimals)}


def _shown(value: Fraction, digits: int) -> str:
    """Exact to `digits`, without zeros at the end."""
    return format_units(round(value * 10**digits), digits)


def _rounded(value: Fraction, digits: int) -> str:
    """With just so many digits."""
    whole, rest = divmod(round(value * 10**digits), 10**digits)
    return f"{whole}.{rest:0{digits}d}" if digits else str(whole)


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
