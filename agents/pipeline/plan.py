"""A pipeline's plan: its stages, what they need and what they take from each other. PURE, but for reading.

A plan file is TOML or JSON of the form that `plan.schema.json` publishes. Everything wrong with one is
reported together.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Final, Self

from eth_utils.crypto import keccak
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.pipeline import refs
from agents.pipeline.refs import From, Input
from agents.policy import Need
from scrip.errors import BadInput, ScripError
from scrip.spec import JobSpec, canonical_json
from scrip.types import Resource, sku_id

MOST_STAGES: Final = 64
MAX_PLAN_BYTES: Final = 1 << 20
DEFAULT_TRIES: Final = 2
STAGE_SECONDS: Final = 600

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
_RESOURCES: Final = "^(" + "|".join(each.name for each in Resource if each) + ")$"


class Kind(StrEnum):
    """What is wrong with a plan."""

    FORMAT = "format"
    DUPLICATE = "duplicate stage"
    REFERENCE = "reference"
    UNKNOWN_STAGE = "unknown stage"
    UNKNOWN_INPUT = "unknown input"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a plan, and where: a stage's name, or a field."""

    kind: Kind
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind.value}: {self.detail}"


class PlanInvalid(ScripError):
    """A plan can't be run as it is. Holds every problem; nothing was spent."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("the plan is wrong: " + "; ".join(map(str, problems)))


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Stage(_Strict):
    """One job of the pipeline: a template, what it is paid in and what its buyer insists on."""

    name: Name
    template: str = Field(min_length=1, max_length=64, description="A template of the provider's catalogue")
    params: dict[str, Any] = Field(default={}, description="Parameters; values may be references")
    after: list[Name] = Field(default=[], description="Stages to wait for without taking their output")
    resource: str = Field(pattern=_RESOURCES, description="What the class taken sells")
    max_units: int = Field(ge=1, lt=1 << 96, description="Most base units of the class to use")
    min_assurance: int = Field(default=0, ge=0, le=3)
    sku: str = Field(default="", description="Label of the class's SKU; empty for any")
    region: str = Field(default="", max_length=12, description="Of the provider; empty for any")
    class_id: int | None = Field(default=None, ge=1, description="This class only")
    providers: list[Address] = Field(default=[], description="These providers only")
    tries: int = Field(default=DEFAULT_TRIES, ge=1, le=8, description="Providers to try, the first included")
    deadline_s: int = Field(default=STAGE_SECONDS, ge=10, le=86_400, description="Seconds for one try")

    def need(self, params: Mapping[str, Any] | None = None, key: str = "") -> Need:
        """What the policy chooses by; without `params` for a quote, when not all of them are known."""
        return Need(
            spec=JobSpec(self.template, {} if params is None else params),
            resource=Resource[self.resource],
            max_units=self.max_units,
            min_assurance=self.min_assurance,
            sku=sku_id(self.sku) if self.sku else None,
            region=self.region,
            seconds=self.deadline_s,
            key=key,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Stages whose output it takes, in the order of their names."""
        found = refs.references(self.params)
        return tuple(sorted({each.stage for each in found if isinstance(each, From)}))

    @property
    def parents(self) -> tuple[str, ...]:
        """Stages that must be done before it, in the order of their names."""
        return tuple(sorted({*self.sources, *self.after}))


class Plan(_Strict):
    """Stages and the texts to be given when they are run."""

    name: Name
    inputs: list[Name] = Field(default=[], description="Names of texts that are given when the plan is run")
    stages: list[Stage] = Field(alias="stage", min_length=1, max_length=MOST_STAGES)

    @classmethod
    def parse(cls, data: object) -> Self:
        """A plan from plain data. Raises PlanInvalid with every problem."""
        try:
            plan = cls.model_validate(data)
        except ValidationError as error:
            raise PlanInvalid([_format(each) for each in error.errors(include_url=False)]) from None
        problems = [*_problems(plan)]
        if problems:
            raise PlanInvalid(problems)
        return plan

    @classmethod
    def load(cls, path: Path) -> Self:
        """The plan in a .toml or .json file. Raises BadInput, PlanInvalid."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise BadInput("plan", str(path), f"a file that can be read ({error.strerror})") from None
        if len(raw) > MAX_PLAN_BYTES:
            raise BadInput("plan", f"{len(raw)} bytes", f"at most {MAX_PLAN_BYTES}")
        try:
            text = raw.decode("utf-8")
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadInput("plan", str(path), f"TOML, or JSON in a .json file ({error!s:.200})") from None
        return cls.parse(data)

    def stage(self, name: str) -> Stage:
        """The stage of that name; it is there, since the plan was checked."""
        return next(stage for stage in self.stages if stage.name == name)

    def graph(self) -> TopologicalSorter[str]:
        """The stages by name, each after its parents, for walking through: `prepare` it first."""
        return TopologicalSorter({stage.name: stage.parents for stage in self.stages})

    def order(self) -> tuple[str, ...]:
        """Every stage after its parents, the same order each time."""
        return tuple(self.graph().static_order())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `parse` reads it back."""
        return self.model_dump(mode="json", by_alias=True)

    def digest(self, inputs: Mapping[str, str]) -> bytes:
        """keccak256 over the plan and the texts given for it: what a state file belongs to."""
        return bytes(keccak(canonical_json({"plan": self.to_json(), "inputs": dict(inputs)})))


def check_inputs(plan: Plan, inputs: Mapping[str, str]) -> None:
    """Raise PlanInvalid unless exactly the texts are given that the plan names."""
    wanted, given = set(plan.inputs), set(inputs)
    problems = [Problem(Kind.UNKNOWN_INPUT, name, "the plan needs it") for name in sorted(wanted - given)]
    problems += [Problem(Kind.UNKNOWN_INPUT, name, "the plan has none") for name in sorted(given - wanted)]
    if problems:
        raise PlanInvalid(problems)


def published_schema() -> dict[str, Any]:
    """The JSON schema of a plan file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Plan.model_json_schema()


def _problems(plan: Plan) -> Iterator[Problem]:
    names = [stage.name for stage in plan.stages]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(Kind.DUPLICATE, name, f"is there {names.count(name)} times")
    well_formed = True
    for stage in plan.stages:
        for problem in _of_stage(stage, set(names), set(plan.inputs)):
            well_formed = well_formed and problem.kind not in (Kind.REFERENCE, Kind.UNKNOWN_STAGE)
            yield problem
    if well_formed:
        yield from _cycle(plan)


def _of_stage(stage: Stage, stages: set[str], inputs: set[str]) -> Iterator[Problem]:
    try:
        canonical_json(stage.params)
    except BadInput as error:
        yield Problem(Kind.FORMAT, stage.name, str(error))
        return
    wrong = [Problem(Kind.REFERENCE, stage.name, detail) for detail in refs.mistakes(stage.params)]
    yield from wrong
    if wrong:
        return
    for name in stage.parents:
        if name not in stages:
            yield Problem(Kind.UNKNOWN_STAGE, stage.name, f"{name!r}; there are {', '.join(sorted(stages))}")
    for each in refs.references(stage.params):
        if isinstance(each, Input) and each.name not in inputs:
            yield Problem(Kind.UNKNOWN_INPUT, stage.name, f"{each.name!r} is not among the plan's inputs")


def _cycle(plan: Plan) -> Iterator[Problem]:
    try:
        plan.graph().prepare()
    except CycleError as error:
        # graphlib lists each stage before those that wait for it, the first one twice.
        circle = " -> ".join(error.args[1])
        yield Problem(Kind.CYCLE, error.args[1][0], f"{circle}: each waits for the one before")


def _format(error: Any) -> Problem:
    where = ".".join(str(part) for part in error["loc"]) or "plan"
    return Problem(Kind.FORMAT, where, error["msg"])


if __name__ == "__main__":
    print(json.dumps(published_schema(), indent=2, sort_keys=True))
