"""The job templates a provider serves, and the only way from a buyer's request to a job.

A buyer names a template and parameters. What runs (program, model, limits, environment) comes from the
provider's catalogue file alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError

from oracle.executors.base import LOCAL, Engine, Limits, Work
from oracle.jobs.params import SCHEMAS, ArtefactSettings, Params, Strict, TransferParams
from scrip.amounts import GB, HOUR_S
from scrip.errors import BadInput, Refused
from scrip.spec import JobSpec
from scrip.types import Resource

DEFAULT_FILE: Final = Path(__file__).with_name("catalogue.toml")
KEEP_SLACK_S: Final = 60
"""What a job that keeps content has besides: to fetch it, to start and to end."""
SameOn = Literal["any", "platform"]
_MOST_SHOWN: Final = 80


class SpecRefused(Refused):
    """A buyer's spec isn't one that the catalogue serves: which field, what was given, what is allowed."""

    def __init__(self, template: str, field: str, given: object, limit: str) -> None:
        self.template, self.field, self.given, self.limit = template, field, _shown(given), limit
        super().__init__(
            f"template {_shown(template)}: {field}: given {self.given}, must be {limit}", "catalogue"
        )


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of job.

    `sku` is the label of a class that this template serves ("" for any: the hardware decides). A
    `deterministic` one gives the same output for the same parameters, `same_on` "any" processor or only on
    the same "platform" (`oracle.host`). `base_ms` and `ns_per_op` estimate a job's time on one core; nothing
    is billed by them. With `network` its program has the provider's. `engine` runs it.
    """

    name: str
    title: str
    module: str
    params: type[Params]
    settings: Strict
    metered: frozenset[Resource]
    limits: Limits
    gpus: int
    deterministic: bool
    sku: str
    base_ms: int
    ns_per_op: int
    network: bool = False
    same_on: SameOn = "any"
    engine: Engine = LOCAL

    def parse(self, given: Mapping[str, Any]) -> Params:
        """Validated, frozen parameters with defaults filled in. Raises SpecRefused for the first that
        doesn't fit.
        """
        try:
            params = self.params.model_validate(dict(given))
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            value = "nothing" if first["type"] == "missing" else first["input"]
            raise SpecRefused(self.name, _path(first), value, _limit_text(first)) from problem
        stored, most = params.stored(), self.limits.seconds - KEEP_SLACK_S
        if stored is not None and stored[1] > most:
            raise SpecRefused(self.name, "seconds", stored[1], f"at most {most}, then redeem again")
        return params

    def needs_gpus(self, resource: Resource) -> int:
        """GPUs that a job paid in `resource` leases."""
        return self.gpus if resource is Resource.GPU_SECOND else 0

    def estimate_units(self, params: Params, resource: Resource, decimals: int) -> int | None:
        """The most base units that a completed job can cost (1 credit = 10**decimals base units).

        Tokens: max_tokens, and for input one a byte of the prompt, since a byte-level tokeniser makes no
        more. Content kept or moved: its size, times the time it is kept, rounded up. Seconds: the
        time limit, times the GPUs or cores leased, since a job that exceeds it fails and costs nothing. None
        if the template can't be paid in `resource`.
        """
        if resource not in self.metered:
            return None
        tokens = params.most_tokens()
        if resource is Resource.OUTPUT_TOKEN and tokens is not None:
            return int(tokens[1] * 10**decimals)
        if resource is Resource.INPUT_TOKEN and tokens is not None:
            return int(tokens[0] * 10**decimals)
        stored, moved = params.stored(), params.moved_bytes()
        if resource is Resource.GB_HOUR and stored is not None:
            return int(-(-stored[0] * stored[1] * 10**decimals // (GB * HOUR_S)))
        if resource is Resource.GB_TRANSFER and moved is not None:
            return int(-(-moved * 10**decimals // GB))
        if resource is Resource.GPU_SECOND:
            return int(self.limits.seconds * max(1, self.gpus) * 10**decimals)
        if resource is Resource.CPU_SECOND:
            return int(self.limits.seconds * self.limits.cores * 10**decimals)
        return None

    def cost_hint_ms(self, params: Params) -> int:
        """About how long the job takes on one core; for quotes and for the choice of what to re-execute."""
        return self.base_ms + params.work() * self.ns_per_op // 1_000_000

    def work(
        self,
        job_id: bytes,
        nonce: int,
        params: Params,
        workdir: Path,
        *,
        gpus: tuple[str, ...] = (),
        gpu_count: int = 0,
        seconds: int | None = None,
        content: bytes | None = None,
    ) -> Work:
        """One attempt at a job, for an executor. `seconds` may lower the time limit, e.g. to what the buyer
        locked; `content` is the output of an earlier job that this one works on.
        """
        limits = (
            self.limits
            if seconds is None
            else replace(self.limits, seconds=min(seconds, self.limits.seconds))
        )
        return Work(
            job_id=job_id,
            nonce=nonce,
            template=self.name,
            params=params.model_dump(mode="json"),
            workdir=workdir,
            limits=limits,
            module=self.module,
            settings=self.settings.model_dump(mode="json"),
            gpus=gpus,
            network=self.network,
            content=content,
            gpu_count=gpu_count,
        )

    @property
    def origins(self) -> tuple[str, ...]:
        """Where content may be fetched from; none for a template that fetches nothing."""
        return tuple(self.settings.origins) if isinstance(self.settings, ArtefactSettings) else ()

    @property
    def offered(self) -> bool:
        """Whether there is anything it could do: one that only fetches needs an origin to fetch from."""
        return bool(self.origins) or not issubclass(self.params, TransferParams)

    def describe(self) -> dict[str, Any]:
        """What a buyer may know, as plain JSON: the parameters' JSON schema, what it is paid in, its
        limits.
        """
        return {
            "name": self.name,
            "title": self.title,
            "params": self.params.model_json_schema(),
            "metered": sorted(resource.name for resource in self.metered),
            "sku": self.sku,
            "deterministic": self.deterministic,
            "sameOn": self.same_on,
            "seconds": self.limits.seconds,
            "outputBytes": self.limits.output_bytes,
            "origins": list(self.origins),
        }


class Catalogue:
    """Templates by name."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = dict(templates)

    @classmethod
    def load(cls, path: Path = DEFAULT_FILE) -> Self:
        """Reads a catalogue file. Raises BadInput with every problem in it at once."""
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))["template"]
        except OSError as problem:
            raise BadInput("catalogue", str(path), "a readable file") from problem
        except (ValueError, KeyError) as problem:
            raise BadInput("catalogue", str(path), f"TOML with [[template]] entries ({problem})") from problem
        if not isinstance(entries, list):
            raise BadInput("catalogue", str(path), "TOML with [[template]] entries")
        templates: dict[str, Template] = {}
        problems: list[str] = []
        for number, entry in enumerate(entries, start=1):
            try:
                template = _template(entry)
            except ValidationError as problem:
                problems += [
                    f"template {number}: {_path(error)}: {error['msg']}" for error in problem.errors()
                ]
                continue
            if template.name in templates:
                problems.append(f"template {number}: name: {template.name} is there twice")
            templates[template.name] = template
        if problems:
            raise BadInput("catalogue", str(path), "free of mistakes: " + "; ".join(problems))
        return cls(templates)

    def __iter__(self) -> Iterator[Template]:
        return iter(self._templates.values())

    def template(self, name: str) -> Template:
        """The template of that name. Raises SpecRefused."""
        found = self._templates.get(name)
        if found is None:
            raise SpecRefused(name, "template", name, "one of " + ", ".join(sorted(self._templates)))
        return found

    def parse(self, spec: JobSpec) -> Params:
        """Validated parameters of a buyer's spec. Raises SpecRefused with field, given and limit."""
        return self.template(spec.template).parse(spec.params)

    def estimate_units(self, spec: JobSpec, resource: Resource, decimals: int) -> int:
        """See `Template.estimate_units`. Raises SpecRefused if the template can't be paid in `resource`."""
        template = self.template(spec.template)
        most = template.estimate_units(template.parse(spec.params), resource, decimals)
        if most is None:
            allowed = ", ".join(sorted(each.name for each in template.metered))
            raise SpecRefused(template.name, "resource", resource.name, f"one of {allowed}")
        return most


class _LimitsEntry(Strict):
    seconds: int = Field(ge=1, le=86_400)
    memory_bytes: int = Field(ge=1 << 24)
    output_bytes: int = Field(ge=1, le=1 << 30)
    processes: int = Field(ge=1, le=4096)


class _CostEntry(Strict):
    base_ms: int = Field(ge=0)
    ns_per_op: int = Field(ge=0)


class _Entry(Strict):
    """One [[template]] of the file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: str = Field(max_length=200)
    module: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")]
    # The name says "schema" in the file; pydantic has a method of that name.
    schema_name: Annotated[
        str, Field(alias="schema", pattern="^(" + "|".join(map(re.escape, SCHEMAS)) + ")$")
    ]
    metered: list[
        Annotated[str, Field(pattern="^(" + "|".join(each.name for each in Resource if each) + ")$")]
    ]
    sku: str = ""
    deterministic: bool
    network: bool = False
    same_on: SameOn = "any"
    cores: int = Field(ge=1, le=1024)
    gpus: int = Field(ge=0, le=64)
    engine: Engine = LOCAL
    limits: _LimitsEntry
    cost: _CostEntry
    settings: dict[str, Any] = Field(default_factory=dict)


def _template(given: object) -> Template:
    entry = _Entry.model_validate(given)
    params, settings = SCHEMAS[entry.schema_name]
    limits = entry.limits
    return Template(
        name=entry.name,
        title=entry.title,
        module=entry.module,
        params=params,
        settings=settings.model_validate(entry.settings),
        metered=frozenset(Resource[name] for name in entry.metered),
        limits=Limits(
            limits.seconds, limits.memory_bytes, limits.output_bytes, limits.processes, entry.cores
        ),
        gpus=entry.gpus,
        deterministic=entry.deterministic,
        sku=entry.sku,
        base_ms=entry.cost.base_ms,
        ns_per_op=entry.cost.ns_per_op,
        network=entry.network,
        same_on=entry.same_on,
        engine=entry.engine,
    )


def _path(error: Any) -> str:
    return ".".join(str(part) for part in error["loc"]) or "params"


def _limit_text(error: Any) -> str:
    """What would be allowed, in words that go on from "must be"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return "left out: the template has no such parameter"
    if kind == "missing":
        return "given: it has no default"
    if kind in ("string_too_long", "string_too_short"):
        bound = (
            f"at most {context['max_length']}"
            if "max_length" in context
            else f"at least {context['min_length']}"
        )
        return f"{bound} characters long"
    if kind == "string_pattern_mismatch":
        return f"text that matches {context['pattern']}"
    return str(error["msg"]).removeprefix("Input should be ")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isascii() and value.isprintable() else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 2]}.. ({len(text)} characters)"
