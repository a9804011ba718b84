"""What tools read: the market, jobs, sessions, balances and receipts. Nothing here sends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agents.cli_spend import report_of
from agents.mcp import work
from agents.mcp.agent import Agent
from agents.mcp.answers import (
    Held,
    Job,
    Line,
    Market,
    MarketOffer,
    Money,
    Order,
    Session,
    Spend,
    Status,
    Verdict,
)
from agents.mcp.orders import Kept, OrderState
from scrip import jobs
from scrip.amounts import format_units
from scrip.bundle import MAX_BUNDLE_BYTES, Bundle
from scrip.cli.output import clean, utc
from scrip.errors import BadInput, EvidenceInvalid, NotFound, ScripError
from scrip.evidence import Check
from scrip.jobs import Opening
from scrip.provider_client import ProviderClient, discover
from scrip.signed_requests import SignedBy
from scrip.structs import to_bytes
from scrip.types import Funding, JobState, region_text
from scrip.types import Status as JobStatus
from scrip.verify import checks

RECENT = 20


def market(agent: Agent) -> Market:
    """Classes and providers that this server could pay for."""
    found = [
        MarketOffer(
            class_id=str(item.info.class_id),
            class_name=clean(item.info.terms.name),
            resource=item.info.terms.resource.name,
            for_sale=item.info.terms.funding is Funding.SALE and not item.info.wound_down,
            price_per_million=None if item.price is None else agent.money(item.price),
            assurance=item.info.terms.min_assurance,
            provider=item.provider.address,
            provider_says=clean(item.offer.name) if item.offer else "",
            region=clean(region_text(item.provider.region)),
            reputation_permille=item.reputation,
            templates=list(item.offer.templates) if item.offer else [],
            simulated=item.offer is not None and item.offer.simulated,
            problem="" if item.offer else "its provider can't be reached",
        )
        for item in agent.market()
    ]
    return Market(block=agent.chain.at().block, offers=found)


def spend(agent: Agent, since: str) -> Spend:
    """What this server's account, or its budget, has spent. Raises BadInput, SpendMismatch."""
    own = agent.sender.address if agent.limit is not None else None
    report = report_of(
        agent.chain, budget=agent.budget_id or None, agent=own, since=since or None, limit=RECENT
    )
    return Spend(report=report.to_json(), limits=agent.limits())


# Status


def status(agent: Agent, job_id: str, session_id: str, key: str) -> Status:
    """What was asked for; balances and unfinished orders if nothing in particular was."""
    base = Status(address=agent.sender.address, limits=agent.limits())
    changes: dict[str, Any] = {}
    if job_id:
        changes["job"] = _job(agent, to_bytes("job_id", job_id, 32))
    if session_id:
        changes["session"] = _session(agent, to_bytes("session_id", session_id, 32))
    if key:
        known = agent.orders.find(key)
        if known is None:
            raise NotFound("order", key, "No call with this idempotency_key has begun anything")
        changes["order"] = _order(agent, known)
    if not changes:
        orders = [item for item in agent.orders.recent(RECENT) if item.state is not OrderState.DONE]
        changes = {
            "credits": _credits(agent),
            "tokens": [_tokens(agent)],
            "unfinished": [_order(agent, item) for item in orders],
        }
    return base.model_copy(update=changes)


def _job(agent: Agent, job: bytes) -> Job:
    view = agent.chain.at()
    opening = jobs.opening(view, job)
    state = jobs.states(view, [opening])[job]
    decimals = view.class_terms(opening.terms.class_id).decimals
    ending = jobs.ending(view, job, opening.block) if state.status.final else None
    return Job(
        job_id="0x" + job.hex(),
        status=state.status.name.lower(),
        class_id=str(opening.terms.class_id),
        provider=opening.terms.provider,
        payer=opening.terms.payer,
        locked=format_units(opening.terms.max_units, decimals),
        used=None if ending is None else format_units(ending.units, decimals),
        provider_says=_said(agent, opening),
        next_step=_next(opening, state, view.time()),
    )


def _next(opening: Opening, state: JobState, now: int) -> str:
    if state.status.final:
        return "It has ended. receipt_verify checks its receipt"
    due = {JobStatus.OPEN: opening.terms.accept_by, JobStatus.RUNNING: opening.terms.submit_by}
    end = due.get(state.status)
    if end is None:
        return "Its receipt waits for the end of its challenge window, or for arbiters"
    if now > end:
        return "Its deadline has passed: anyone can expire it, and all its credits come back"
    return f"It must move on by {utc(end)}, or all its credits come back"


def _said(agent: Agent, opening: Opening) -> str:
    """The provider's own words, of whom nothing is believed; empty if it says nothing."""
    try:
        endpoint = discover(agent.chain.at().provider(opening.terms.provider)).endpoint
        with ProviderClient(endpoint) as client:
            answer = client.job(opening.job_id)
    except ScripError:
        return ""
    return clean(" ".join(str(answer[name]) for name in ("state", "reason") if answer.get(name)))[:500]


def _session(agent: Agent, session: bytes) -> Session:
    found = agent.chain.at().session(session)
    if found.deposit == 0 and not found.closed:
        raise NotFound("session", session, "Nobody has opened it")
    return Session(
        session_id="0x" + session.hex(),
        deposit_units=str(found.deposit),
        claimed_units=str(found.claimed),
        closes_at=utc(found.close_at) if found.close_at else "",
        closed=found.closed,
    )


def _credits(agent: Agent) -> list[Held]:
    view, owner = agent.chain.at(), agent.purse().payer
    held = []
    for class_id in view.class_ids():
        units, terms = view.balance(owner, class_id), view.class_terms(class_id)
        if units:
            held.append(
                Held(
                    class_id=str(class_id),
                    class_name=clean(terms.name),
                    credits=format_units(units, terms.decimals),
                    locked=format_units(view.locked(owner, class_id), terms.decimals),
                )
            )
    return held


def _tokens(agent: Agent) -> Money:
    return agent.money(agent.chain.at().token_balance(agent.token.address, agent.purse().payer))


def _order(agent: Agent, kept: Kept) -> Order:
    redeem = kept.tool == "redeem"
    errand = agent.errands.find(kept.key)
    attempts = agent.book.attempts(work.need_key(kept.key)) if redeem else []
    detail = attempts[-1].detail if attempts else ""
    if errand is not None and isinstance(errand.error, ScripError):
        detail = str(errand.error)
    going = errand is not None and not errand.done.is_set()
    state = "running" if going else attempts[-1].state.value if attempts else kept.state.value
    return Order(
        idempotency_key=kept.key,
        tool="redeem" if redeem else "buy",
        state=state,
        job_ids=work.job_ids(agent, kept.key) if redeem else [],
        detail=detail,
        steps=list(errand.steps) if errand is not None else [],
    )


# Receipts


def verify(agent: Agent, *, job_id: str, bundle: Any, file: str) -> Verdict:
    """Check one bundle against the chain, line by line. Raises BadInput, NotFound, Refused, ChainError."""
    given = [name for name, value in (("job_id", job_id), ("bundle", bundle), ("file", file)) if value]
    if len(given) != 1:
        raise BadInput("receipt_verify", given or None, "one of job_id, bundle and file")
    try:
        found = _fetch(agent, job_id) if job_id else _read(bundle, file)
    except EvidenceInvalid as broken:
        return _broken(agent, broken)
    lines, holds = _lines(checks(found, agent.rpc, market=agent.chain.address("JobMarket")))
    return Verdict(
        holds=holds,
        job_id="0x" + found.job_id.hex(),
        chain_id=str(found.chain_id),
        market=found.market,
        simulated=found.simulated,
        assurance=found.receipt.assurance,
        lines=lines,
        meaning=_meaning(found, holds),
    )


def _lines(found: Iterable[Check]) -> tuple[list[Line], bool]:
    lines = []
    try:
        for item in found:
            lines.append(Line(check=item.name, holds=True, detail=clean(item.detail)))
    except EvidenceInvalid as invalid:
        lines.append(Line(check=invalid.check, holds=False, detail=clean(invalid.detail)))
        return lines, False
    return lines, True


def _broken(agent: Agent, broken: EvidenceInvalid) -> Verdict:
    """A bundle that can't even be read as one."""
    line = Line(check=broken.check, holds=False, detail=clean(broken.detail))
    return Verdict(
        holds=False,
        job_id="",
        chain_id=str(agent.chain.chain_id),
        market=agent.chain.address("JobMarket"),
        simulated=False,
        assurance=0,
        lines=[line],
        meaning="It doesn't hold: trust neither the receipt nor the output",
    )


def _meaning(bundle: Bundle, holds: bool) -> str:
    if not holds:
        return "It doesn't hold: trust neither the receipt nor the output"
    if bundle.simulated:
        return "It holds, but its telemetry was replayed (SIMULATED): no such hardware did the work"
    return f"It holds, at assurance {bundle.receipt.assurance} (3 is the highest)"


def _fetch(agent: Agent, job_id: str) -> Bundle:
    """The bundle that the job's provider shows to this account, a party of the job."""
    job = to_bytes("job_id", job_id, 32)
    view = agent.chain.at()
    opening = jobs.opening(view, job)
    endpoint = discover(view.provider(opening.terms.provider)).endpoint
    auth = SignedBy(agent.wallet, agent.chain.chain_id, agent.chain.address("JobMarket"))
    with ProviderClient(endpoint, auth=auth) as client:
        return client.bundle(job)


def _read(bundle: Any, file: str) -> Bundle:
    if file:
        try:
            with Path(file).open("rb") as source:
                return Bundle.decode(source.read(MAX_BUNDLE_BYTES + 1))
        except OSError as error:
            raise BadInput("file", file, f"a file that can be read ({error.strerror})") from None
    if isinstance(bundle, str):
        return Bundle.decode(bundle.encode())
    return Bundle.decode(json.dumps(bundle).encode())
