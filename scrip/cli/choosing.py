"""Which provider does a job, with what parameters and for at most how many units. No policy beyond that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrip.errors import BadInput, NotFound, Refused, ScripError

if TYPE_CHECKING:
    from scrip.provider_client import Offer
    from scrip.types import ClassInfo, ProviderInfo
    from scrip.view import ChainView

MAX_FILE_BYTES = 1 << 20
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered provider and what it says of itself; `problem` says why that isn't known."""

    provider: ProviderInfo
    offer: Offer | None
    problem: str = ""


def ask(providers: Sequence[ProviderInfo]) -> list[Candidate]:
    """What each provider says of itself, asked side by side. One that stays silent is no error."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_ask_one, providers))


def _ask_one(provider: ProviderInfo) -> Candidate:
    from scrip import provider_client

    try:
        return Candidate(provider, provider_client.discover(provider))
    except ScripError as error:
        return Candidate(provider, None, str(error))


def pick(view: ChainView, info: ClassInfo, template: str, wanted: str | None) -> Candidate:
    """The provider for a job of a class: `wanted`, or the one with most at stake among those that offer it.

    A class has one price, so no serving provider is cheaper than another; metered beats simulated. Raises
    NotFound if none may serve the class, Refused if none that may can be had.
    """
    if wanted is not None:
        allowed = [view.provider(wanted)]
        if not view.can_serve(wanted, info.class_id):
            raise Refused(f"provider {wanted} doesn't serve class {info.label}")
    else:
        allowed = [one for one in view.providers() if view.can_serve(one.address, info.class_id)]
    if not allowed:
        raise NotFound("provider for class", info.class_id, "See: scrip provider list")
    candidates = ask(allowed)
    able = [one for one in candidates if one.offer is not None and template in one.offer.templates]
    if not able:
        reasons = "; ".join(_why_not(one, template) for one in candidates)
        raise Refused(f"no provider of class {info.class_id} offers {template}: {reasons}")
    return min(able, key=_rank)


def _rank(candidate: Candidate) -> tuple[bool, int, str]:
    simulated = candidate.offer is not None and candidate.offer.simulated
    return simulated, -candidate.provider.stake, candidate.provider.address


def _why_not(candidate: Candidate, template: str) -> str:
    if candidate.offer is None:
        return candidate.problem
    offered = ", ".join(candidate.offer.templates) or "nothing"
    return f"{candidate.provider.address} offers {offered}, not {template}"


def parameters(
    details: Mapping[str, Any], pairs: Sequence[str], files: Sequence[str], whole: Path | None
) -> dict[str, Any]:
    """Parameters from a JSON file, `name=value` texts and `name=path` text files; later ones win.

    `details` is the provider's description of the template: its schema tells texts from numbers. Where it is
    silent, a value is JSON if it reads as JSON, otherwise text. Raises BadInput.
    """
    found = _read_object(whole) if whole else {}
    properties = _properties(details)
    for pair in pairs:
        name, value = _split("--param", pair, "name=value")
        found[name] = _value(value, properties.get(name))
    for pair in files:
        name, path = _split("--file", pair, "name=path")
        found[name] = read_text("--file", Path(path))
    return found


def default_units(info: ClassInfo, details: Mapping[str, Any], params: Mapping[str, Any], width: int) -> int:
    """The most base units that the job can cost, from the template's description.

    Output tokens: `max_tokens`, given or by default. Seconds: the template's time limit on `width` devices.
    Content: its `size`, times the `seconds` it is kept, rounded up. Raises BadInput where that can't be told.
    """
    from scrip.amounts import GB, HOUR_S
    from scrip.types import Resource

    resource, scale = info.terms.resource, int(10**info.terms.decimals)
    most: object = None
    whole = 1
    if resource is Resource.OUTPUT_TOKEN:
        schema = _properties(details).get("max_tokens")
        by_default = schema.get("default") if isinstance(schema, Mapping) else None
        most = params.get("max_tokens", by_default)
    elif resource in (Resource.GPU_SECOND, Resource.CPU_SECOND):
        limit = details.get("seconds")
        most = limit * width if type(limit) is int else None
    elif resource in (Resource.GB_HOUR, Resource.GB_TRANSFER):
        size, seconds = params.get("size"), params.get("seconds")
        if type(size) is int and resource is Resource.GB_TRANSFER:
            most, whole = size, GB
        elif type(size) is int and type(seconds) is int:
            most, whole = size * seconds, GB * HOUR_S
    if type(most) is not int or most < 1:
        raise BadInput("--max", None, "given: the most credits to lock, this job's need isn't known")
    return -(-most * scale // whole)


def _properties(details: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = details.get("params")
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _value(text: str, schema: object) -> Any:
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # Specs hold no floats: what looks like one is text, or wrong, and the provider says which.
    return text if isinstance(value, float) else value


def _split(option: str, pair: str, form: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise BadInput(option, pair, form)
    return name, value


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text("--params", path))
    except (ValueError, RecursionError) as error:
        raise BadInput("--params", str(path), f"a JSON file ({error!s:.100})") from None
    if not isinstance(data, dict):
        raise BadInput("--params", str(path), "a file with a JSON object")
    return data


def read_text(option: str, path: Path) -> str:
    """A text file that an option names, of at most `MAX_FILE_BYTES`. Raises BadInput."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise BadInput(option, str(path), f"a file of at most {MAX_FILE_BYTES} bytes")
        return raw.decode("utf-8")
    except OSError as error:
        raise BadInput(option, str(path), f"a readable file ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(option, str(path), "a text file in UTF-8") from None
