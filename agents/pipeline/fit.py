"""Whether parameters fit what a provider says its template takes, before anything is bought. PURE.

The provider's own check decides; this one is to find out early, and to say which stage and which parameter.
Its schema is text from outside: references and patterns in it are left out, since one could point anywhere
and the other could take for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from agents.market import Listing
from agents.pipeline import refs
from agents.pipeline.plan import Stage
from scrip.errors import ScripError

_LEFT_OUT: Final = frozenset(
    {"$ref", "$dynamicRef", "$schema", "$id", "pattern", "patternProperties", "format"}
)
_DEEPEST: Final = 16


class DoesNotFit(ScripError):
    """Parameters of a stage, with the outputs of earlier ones in place, aren't what its template takes."""

    def __init__(self, stage: str, template: str, problems: list[str]) -> None:
        self.stage, self.template, self.problems = stage, template, tuple(problems)
        super().__init__(f"stage {stage}: {template} doesn't take this: {'; '.join(problems)}")


def check(stage: Stage, params: Mapping[str, Any], listing: Listing) -> None:
    """Raise DoesNotFit unless complete parameters fit the template as this provider describes it."""
    problems = list(_problems(_schema(stage, listing), dict(params)))
    if problems:
        raise DoesNotFit(stage.name, stage.template, problems)


def known_problems(stage: Stage, listing: Listing) -> list[str]:
    """What is wrong already with the parameters that are known before anything has run."""
    schema = _schema(stage, listing)
    literal = {name: value for name, value in stage.params.items() if refs.is_literal(value)}
    # What is to come is left open, whatever it will be.
    properties = schema.get("properties")
    if isinstance(properties, dict):
        schema = schema | {"properties": properties | {name: {} for name in set(stage.params) - set(literal)}}
        unknown = sorted(set(stage.params) - set(literal) - set(properties))
        if unknown and schema.get("additionalProperties") is False:
            return [f"{name}: the template has no such parameter" for name in unknown]
    return list(_problems(schema, {**stage.params, **literal}))


def _schema(stage: Stage, listing: Listing) -> dict[str, Any]:
    """The template's schema; one that takes anything where the provider gives none that can be used."""
    details = listing.offer.details if listing.offer else {}
    given = _plain(details.get(stage.template, {}).get("params", {}), 0)
    if not isinstance(given, dict):
        return {}
    try:
        Draft202012Validator.check_schema(given)
    except (SchemaError, RecursionError):
        return {}
    return given


def _plain(schema: Any, depth: int, *, names: bool = False) -> Any:
    """The schema without what is left out; under `names` the keys are parameters, not keywords."""
    if depth > _DEEPEST:
        return True
    if isinstance(schema, dict):
        return {
            name: _plain(part, depth + 1, names=name == "properties" and not names)
            for name, part in schema.items()
            if names or name not in _LEFT_OUT
        }
    if isinstance(schema, list):
        return [_plain(part, depth + 1) for part in schema]
    return schema


def _problems(schema: Mapping[str, Any], params: dict[str, Any]) -> Iterator[str]:
    for error in Draft202012Validator(schema).iter_errors(params):
        where = ".".join(map(str, error.absolute_path)) or "params"
        yield f"{where}: {_short(error)}"


def _short(error: Any) -> str:
    """The validator's words without the value, which may be a whole document."""
    limits = {"maxLength": "at most", "minLength": "at least"}
    if error.validator in limits:
        return f"{len(error.instance)} characters, must be {limits[error.validator]} {error.validator_value}"
    return str(error.message)[:200]
