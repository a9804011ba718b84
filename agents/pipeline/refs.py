"""References: how a stage's parameters take what earlier stages gave. PURE.

Wherever a parameter, or a part of one, is an object with one of these forms, its value is put in its place:

    {"from": "retrieve"}                 the whole output of a stage, as text (UTF-8)
    {"from": "retrieve", "at": "/text"}  a part of an output that is JSON, by JSON Pointer (RFC 6901)
    {"input": "document"}                a text that is given when the plan is run
    {"join": ["Sum up: ", {"from": "retrieve"}]}   texts, one after the other

Nothing else is a reference: an object without these keys is a plain value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scrip.errors import ScripError

FORMS: Final[Mapping[str, frozenset[str]]] = {
    "from": frozenset({"from", "at"}),
    "input": frozenset({"input"}),
    "join": frozenset({"join"}),
}
"""Keys that make an object a reference, and the keys it may have."""


class OutputUnusable(ScripError):
    """A stage's output, or an input, isn't what a reference to it needs."""

    def __init__(self, source: str, given: str, needed: str) -> None:
        self.source, self.given, self.needed = source, given, needed
        super().__init__(f"output of {source}: {given}, must be {needed}. Change the reference or the stage")


@dataclass(frozen=True, slots=True)
class From:
    """The output of `stage`, or what `at` (a JSON pointer) finds in it; None for all of it, as text."""

    stage: str
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A text that is given when the plan is run."""

    name: str


def references(value: Any) -> Iterator[From | Input]:
    """Every reference in a value, with those inside a join. A malformed one is left to `mistakes`."""
    form = _form(value)
    if form == "from":
        yield From(value["from"], value.get("at"))
    elif form == "input":
        yield Input(value["input"])
    else:
        for part in _parts(value):
            yield from references(part)


def mistakes(value: Any, path: str = "params") -> Iterator[str]:
    """What is wrong with the form of references in a value."""
    form = _form(value)
    if form is not None:
        yield from _mistakes_of(form, value, path)
    for name, part in _named(value):
        yield from mistakes(part, f"{path}.{name}")


def is_literal(value: Any) -> bool:
    """Whether a value holds no reference, so that it is known before anything has run."""
    return (
        next(references(value), None) is None and _form(value) is None and all(map(is_literal, _parts(value)))
    )


def resolve(value: Any, outputs: Mapping[str, bytes], inputs: Mapping[str, str]) -> Any:
    """The value with every reference replaced. Raises OutputUnusable; a missing name is a KeyError, because
    plans are checked and run in order.
    """
    form = _form(value)
    if form == "from":
        return _from(value["from"], value.get("at"), outputs[value["from"]])
    if form == "input":
        return inputs[value["input"]]
    if form == "join":
        return "".join(_joinable(resolve(part, outputs, inputs)) for part in value["join"])
    if isinstance(value, Mapping):
        return {name: resolve(part, outputs, inputs) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(part, outputs, inputs) for part in value]
    return value


def _from(stage: str, at: str | None, output: bytes) -> Any:
    try:
        text = output.decode("utf-8")
    except UnicodeDecodeError:
        raise OutputUnusable(f"stage {stage}", f"{len(output)} bytes that aren't UTF-8", "text") from None
    if at is None:
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise OutputUnusable(f"stage {stage}", "not JSON", f"JSON with {at}") from None
    for step in pointer(at):
        found = _step(stage, at, found, step)
    return found


def pointer(at: str) -> tuple[str, ...]:
    """The steps of a JSON pointer; none for "", the whole value."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in at.split("/")[1:])


def _step(stage: str, at: str, found: Any, step: str) -> Any:
    if isinstance(found, dict) and step in found:
        return found[step]
    if isinstance(found, list) and step.isascii() and step.isdigit() and int(step) < len(found):
        return found[int(step)]
    raise OutputUnusable(f"stage {stage}", f"nothing at {at} (no {step!r:.40})", f"JSON with {at}")


def _joinable(part: Any) -> str:
    if isinstance(part, str):
        return part
    if type(part) is int:
        return str(part)
    raise OutputUnusable("a join", f"{type(part).__name__} among its parts", "texts and whole numbers")


def _form(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    return next((form for form in FORMS if form in value), None)


def _mistakes_of(form: str, value: Mapping[str, Any], path: str) -> Iterator[str]:
    extra = sorted(set(value) - FORMS[form])
    if extra:
        yield f"{path}: a reference by {form!r} has no {', '.join(map(repr, extra))}"
    if form == "join":
        if not isinstance(value["join"], (list, tuple)) or not value["join"]:
            yield f"{path}: join must be a list of at least one part"
        return
    if not isinstance(value[form], str):
        yield f"{path}: {form} must be a name"
    at = value.get("at")
    if at is not None and (not isinstance(at, str) or (at and not at.startswith("/"))):
        yield f"{path}: at must be a JSON pointer, empty or beginning with /"


def _parts(value: Any) -> Sequence[Any]:
    return [part for _, part in _named(value)]


def _named(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(name), part) for name, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(index), part) for index, part in enumerate(value)]
    return []
