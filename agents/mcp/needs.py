"""From a request in an agent's words to a need: which resource pays for it, and how much it may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.market import Listing
from agents.mcp.agent import Agent, OverCall
from agents.mcp.orders import content_of
from agents.policy import Choice, Means, Need, Preferences, choose
from agents.purse import Purse
from scrip.amounts import parse_units
from scrip.cli.choosing import default_units
from scrip.errors import BadInput, Refused, ScripError
from scrip.spec import JobSpec
from scrip.structs import to_address
from scrip.types import Resource

ONE_DEVICE = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A piece of work as a client asks for it. Empty texts and None mean any, or by default."""

    template: str
    params: Mapping[str, Any]
    class_id: int | None = None
    provider: str = ""
    max_credits: str = ""
    min_assurance: int = 0
    region: str = ""

    @property
    def spec(self) -> JobSpec:
        """Template and parameters. Raises BadInput."""
        return JobSpec(self.template, dict(self.params))

    def content(self) -> str:
        """Equal for equal requests."""
        return content_of(
            {
                "spec": self.spec.to_json(),
                "class": self.class_id,
                "provider": self.provider,
                "maxCredits": self.max_credits,
                "minAssurance": self.min_assurance,
                "region": self.region,
            }
        )

    def fits(self, listing: Listing) -> bool:
        """Whether the client's own choice of class and provider admits a listing."""
        who = to_address("provider", self.provider) if self.provider else ""
        return (self.class_id in (None, listing.info.class_id)) and who in ("", listing.provider.address)


@dataclass(frozen=True, slots=True)
class Unit:
    """What credits count: classes of one resource with equal decimals have the same base unit."""

    resource: Resource
    decimals: int

    @classmethod
    def of(cls, listing: Listing) -> Unit:
        """That of a listing's class."""
        return cls(listing.info.terms.resource, listing.info.terms.decimals)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A need, and what of the market it is for."""

    need: Need
    unit: Unit

    def to_json(self) -> dict[str, Any]:
        """What has to be remembered to make the same need again."""
        return {
            "resource": int(self.unit.resource),
            "decimals": self.unit.decimals,
            "units": str(self.need.max_units),
        }


def again(asked: Asked, data: Mapping[str, Any], key: str) -> Resolved:
    """The need that `Resolved.to_json` remembers."""
    unit = Unit(Resource(data["resource"]), int(data["decimals"]))
    return Resolved(_need(asked, unit, int(data["units"]), key), unit)


def within(asked: Asked, unit: Unit, market: Sequence[Listing]) -> list[Listing]:
    """The listings that a resolved need is for."""
    return [item for item in market if asked.fits(item) and Unit.of(item) == unit]


def resolve(agent: Agent, purse: Purse, asked: Asked, key: str = "") -> tuple[Resolved, Choice]:
    """The need and the offer to take for it: the cheapest over all resources that can pay for it.

    Raises Refused with every reason, OverCall, BudgetRefused, BadInput.
    """
    market = agent.market()
    units = _units(asked, market)
    found: list[tuple[Resolved, Choice]] = []
    problems: list[ScripError] = []
    for unit, most in units.items():
        resolved = Resolved(_need(asked, unit, most, key), unit)
        try:
            found.append((resolved, choose_for(agent, purse, resolved, asked, market)))
        except (Refused, OverCall) as problem:
            problems.append(problem)
    if not found:
        over = [item for item in problems if isinstance(item, OverCall)]
        raise over[0] if over else _none_fits(problems)
    return min(found, key=lambda pair: pair[1].listing.cost(pair[0].need.max_units))


def choose_for(
    agent: Agent, purse: Purse, resolved: Resolved, asked: Asked, market: Sequence[Listing]
) -> Choice:
    """The policy's choice within purse and cap. Raises as `resolve`."""
    need = resolved.need
    fitting = purse.market(within(asked, resolved.unit, market))
    means = purse.means(fitting, need)
    try:
        return choose(fitting, need, means, agent.token.text, Preferences(max_price=agent.per_call))
    except Refused:
        _explain_cap(agent, fitting, need, means)
        purse.explain(fitting, need, means)
        raise


def _explain_cap(agent: Agent, fitting: Sequence[Listing], need: Need, means: Means) -> None:
    """Raise OverCall if nothing but the cap of a call is in the way."""
    try:
        wanted = choose(fitting, need, means, agent.token.text)
    except Refused:
        return
    agent.check_call(wanted.listing.cost(need.max_units))


def _units(asked: Asked, market: Sequence[Listing]) -> dict[Unit, int]:
    """Base units that the work may use, for each kind of credits that can pay. Raises Refused, BadInput."""
    offered = [item for item in market if item.offer is not None and asked.template in item.offer.templates]
    if not offered:
        names = sorted({name for item in market if item.offer is not None for name in item.offer.templates})
        raise Refused(
            f"nobody offers {asked.template!r} now; on offer: {', '.join(names) or 'nothing'}. "
            "See the tool: market",
            "market",
        )
    found: dict[Unit, int] = {}
    problem: BadInput | None = None
    for item in filter(asked.fits, offered):
        details = item.offer.details.get(asked.template, {}) if item.offer is not None else {}
        metered = details.get("metered")
        if isinstance(metered, list) and item.info.terms.resource.name not in metered:
            continue
        try:
            found.setdefault(Unit.of(item), _most(asked, item, details))
        except BadInput as unknown:
            problem = unknown
    if found:
        return found
    if problem is not None:
        raise problem
    raise Refused(f"no class that can pay for {asked.template!r} fits class_id and provider", "market")


def _most(asked: Asked, item: Listing, details: Mapping[str, Any]) -> int:
    if asked.max_credits:
        return parse_units(asked.max_credits, item.info.terms.decimals)
    try:
        return default_units(item.info, details, asked.params, ONE_DEVICE)
    except BadInput:
        raise BadInput(
            "max_credits", None, "given: the most credits to use", "This work's need isn't known beforehand"
        ) from None


def _need(asked: Asked, unit: Unit, most: int, key: str) -> Need:
    if most < 1:
        raise BadInput("max_credits", asked.max_credits, "more than 0")
    return Need(
        spec=asked.spec,
        resource=unit.resource,
        max_units=most,
        min_assurance=asked.min_assurance,
        region=asked.region,
        key=key,
    )


def _none_fits(problems: Sequence[ScripError]) -> ScripError:
    if len(problems) == 1:
        return problems[0]
    return Refused("; ".join(str(item) for item in problems), "policy")
