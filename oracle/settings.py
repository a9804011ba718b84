"""Settings of an oracle node: one frozen object, built once from a TOML file and `SCRIP_*` variables.

    role = "provider"                 # SCRIP_ROLE
    [chain]
    rpc_url = "http://127.0.0.1:8545" # SCRIP_CHAIN_RPC_URL

A variable named `SCRIP_<SECTION>_<NAME>` replaces the value of the file; lists are comma separated there.
Paths are relative to the file. No other module reads the environment for settings. All missing and wrong
values are reported at once, and no report holds a secret: a key's password is never a setting, only where it
is read from, and a database's URL is never shown.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, ValidationError, field_validator

from oracle.settings_admission import AdmissionSettings
from oracle.settings_audits import AuditSettings
from oracle.settings_engines import RaySettings, SlurmSettings
from oracle.settings_fields import (
    CLIENT_S,
    Address,
    Count,
    DatabaseUrl,
    FilePath,
    FilePaths,
    Integers,
    MaybePath,
    Origins,
    Seconds,
    Texts,
    Url,
    Urls,
    split,
)
from oracle.settings_fields import Section as _Section
from oracle.settings_gateway import GatewaySettings
from oracle.settings_operator import OperatorSettings
from oracle.settings_x402 import X402Settings
from oracle.tdp import MOST_TENANTS, shared_suffix, tenants_of
from scrip.errors import ScripError
from scrip.keys import LOCAL_CHAINS

PREFIX: Final = "SCRIP_"


class SettingsProblem(ScripError):
    """One or more settings are missing or wrong. `problems` names each and what is allowed."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        listed = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} setting(s) missing or wrong:{listed}")


class Role(StrEnum):
    """What the node does."""

    PROVIDER = "provider"
    WATCHER = "watcher"


class ChainSettings(_Section):
    """Which chain and contracts. `finality_depth` is how many blocks below the head we act on: by default 0
    on local chains, which have no finality, and `scrip.chain.FINALITY_DEPTH` elsewhere.
    """

    rpc_url: Url
    chain_id: Annotated[int, Field(ge=1, lt=1 << 64)]
    deployment: FilePath = Path("deployments")
    finality_depth: Annotated[int, Field(ge=0, le=10_000)] | None = None
    extra_local_chains: Integers = ()
    rpc_timeout_s: Annotated[int, Field(ge=1, le=300)] = 30

    @property
    def local_chains(self) -> frozenset[int]:
        """Chain ids of development chains, where well-known keys and simulated telemetry are allowed."""
        return LOCAL_CHAINS | frozenset(self.extra_local_chains)

    @property
    def is_local(self) -> bool:
        """Whether this node works on a development chain."""
        return self.chain_id in self.local_chains

    @property
    def depth(self) -> int | None:
        """`finality_depth` for `Chain.connect`; None leaves the choice to it."""
        return 0 if self.finality_depth is None and self.is_local else self.finality_depth


class KeySettings(_Section):
    """Where the oracle key is. Without a keystore the node runs dry: it signs and sends nothing.

    `password_env` is the name of a variable, not a password.
    """

    keystore: MaybePath = None
    password_file: MaybePath = None
    password_env: str | None = None


class DatabaseSettings(_Section):
    """Where the state is: `sqlite:///FILE`, by default in `state_dir`, or
    `postgresql://USER:PASSWORD@HOST/NAME`, which no message shows. Several nodes of one provider may share
    it: one leads, and another takes over once that has given no sign of life for `lease_s` seconds.
    """

    url: DatabaseUrl = SecretStr("")
    lease_s: Annotated[int, Field(ge=1, le=600)] = 15


class ApiSettings(_Section):
    """HTTP. `public_url` is what others reach us by: watchers insist that it has the origin of the registry's
    URI, and requests are signed for it. A client may ask `requests_per_minute` times, `heavy_per_minute` of
    them for what costs us something: quotes, specs, evidence, proofs, outputs, votes. One that sends nothing
    of its request, or takes nothing of its answer, for `client_s` is hung up on. Pages of `web_origins` may
    call a provider from a browser; without any, none may.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_800
    public_url: Url = "http://127.0.0.1:8800"
    max_body_bytes: Annotated[int, Field(ge=1_024, le=64 * 2**20)] = 256 * 1_024
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 1_200
    heavy_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    client_s: Annotated[int, Field(ge=1, le=3_600)] = CLIENT_S
    web_origins: Origins = ()


class ProviderSettings(_Section):
    """What a provider serves, and how much of it at once.

    `packages` are directories of Python packages with job programs of a catalogue of one's own. `classes`
    empty serves every class that fits and has backing; one without pays nothing, so it must be listed.
    `slots` jobs run side by side, `queue` more may wait; `gpus` (UUIDs) are shared out among them.
    `accept_margin_s` is the least time left to accept, `submit_margin_s` what stays free for signing and
    settling. `cancel_declined` gives a job we can't take back to its payer at once, at our gas, instead of at
    its deadline. A node that is told to stop gives the jobs that run `drain_s` to end. `cpu_sku` and
    `gpu_sku` are labels whose hash a class names; a model is a SKU that the catalogue names; `storage_sku`
    and `network_sku` are what classes of GB-hours and of GB name. A quote holds its place until the job's
    acceptBy, at most `max_quote_s` ahead.

    `gpu_tenants` jobs share each GPU, nothing between them but what the driver does: for programs and buyers
    that may meet. A job is charged for its share of the GPU's time, and `gpu_sku` must say so by ending in
    "-shared-<gpu_tenants>". `gpu_idle_mw` is what a board draws with nothing running; jobs bear it by share.

    On a Kubernetes node `kubelet_socket` tells `scrip oracle check` which pods hold these GPUs.
    """

    address: Address
    catalogue: MaybePath = None
    packages: FilePaths = ()
    classes: Integers = ()
    slots: Count = 1
    queue: Annotated[int, Field(ge=0, le=10_000)] = 8
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    drain_s: Seconds = 5
    cpu_sku: str = "cpu"
    gpu_sku: str = ""
    gpus: Texts = ()
    simulated_gpu: bool = False
    gpu_trace: MaybePath = None
    gpu_tenants: Annotated[int, Field(ge=1, le=MOST_TENANTS)] = 1
    gpu_idle_mw: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    storage_sku: str = "storage"
    network_sku: str = "network"
    kubelet_socket: MaybePath = None
    tick_ms: Annotated[int, Field(ge=20, le=60_000)] = 1_000
    max_quote_s: Seconds = 600
    accept_margin_s: Seconds = 5
    submit_margin_s: Seconds = 30
    max_clock_skew_s: Seconds = 30
    cancel_declined: bool = True
    max_specs: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000


class QuorumSettings(_Section):
    """Provider side: the watchers' URLs and how long one may take to re-check a job, in seconds."""

    watchers: Urls = ()
    timeout_s: Annotated[int, Field(ge=1, le=3_600)] = 120


class SettleSettings(_Section):
    """When receipts are sent: once `max_batch` wait, or the oldest has waited `max_age_s`. 1 never
    batches.
    """

    max_batch: Annotated[int, Field(ge=1, le=200)] = 1
    max_age_s: Seconds = 5
    retry_s: Annotated[int, Field(ge=1, le=3_600)] = 5


class EvidenceSettings(_Section):
    """How long a provider keeps evidence, and how much of it. `margin_s` is added to what a dispute may need;
    with `quota_mib` used up new jobs are declined, and nothing is deleted early.
    """

    margin_s: Annotated[int, Field(ge=3_600, le=10 * 366 * 86_400)] = 7 * 86_400
    quota_mib: Annotated[int, Field(ge=64, le=1 << 30)] = 50 * 1_024


class WatcherSettings(_Section):
    """Watcher side. Sizes in bytes, times in seconds.

    `re_execute` runs deterministic jobs again, those that are drawn: at least `re_execute_floor_ppm` in a
    million, more where little is at stake (`oracle.sampling`), within `re_execute_s_per_hour`.
    `allowed_origins` may serve bundles besides a provider's registered origin. A refusal is published once
    enough watchers have committed to their votes, or `reveal_after_s` later. `gpu_overlap_s` is how far two
    jobs on one GPU may seem to overlap.
    """

    re_execute: bool = True
    re_execute_floor_ppm: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    re_execute_s_per_hour: Annotated[int, Field(ge=1, le=10_000_000)] = 3_600
    reveal_after_s: Annotated[int, Field(ge=1, le=86_400)] = 120
    gpu_overlap_s: Annotated[int, Field(ge=1, le=60)] = 2
    catalogue: MaybePath = None
    packages: FilePaths = ()
    allowed_origins: Urls = ()
    fetch_timeout_s: Annotated[int, Field(ge=1, le=600)] = 20
    max_bundle_bytes: Annotated[int, Field(ge=1_024, le=64 * 2**20)] = 32 * 2**20
    max_rows: Annotated[int, Field(ge=1, le=200)] = 100
    slots: Count = 1


class Settings(_Section):
    """Everything an oracle node is told."""

    role: Role
    state_dir: FilePath
    evidence_dir: MaybePath = None
    poll_ms: Annotated[int, Field(ge=50, le=60_000)] = 1_000
    reconcile_s: Annotated[int, Field(ge=1, le=3_600)] = 30
    log_level: str = "INFO"
    chain: ChainSettings
    database: DatabaseSettings = DatabaseSettings()
    key: KeySettings = KeySettings()
    api: ApiSettings = ApiSettings()
    provider: ProviderSettings | None = None
    slurm: SlurmSettings | None = None
    ray: RaySettings | None = None
    quorum: QuorumSettings = QuorumSettings()
    settle: SettleSettings = SettleSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    watcher: WatcherSettings = WatcherSettings()
    x402: X402Settings | None = None
    gateway: GatewaySettings | None = None
    audits: AuditSettings | None = None
    admission: AdmissionSettings | None = None
    operator: OperatorSettings = OperatorSettings()

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @property
    def database_url(self) -> str:
        """URL of the store, with its password: `database.url`, or SQLite in the state folder."""
        return self.database.url.get_secret_value() or f"sqlite:///{self.state_dir / 'oracle.db'}"

    @property
    def evidence_folder(self) -> Path:
        """Where bundles are: `evidence_dir`, or a folder of `state_dir`. Nodes on one database share it."""
        return self.evidence_dir or self.state_dir / "evidence"

    @property
    def dry(self) -> bool:
        """Whether the node has no key, so that it does everything except sign and send."""
        return self.key.keystore is None

    def of_provider(self) -> ProviderSettings:
        """The [provider] section. Raises SettingsProblem on a watcher, which has none."""
        if self.provider is None:
            raise SettingsProblem(("provider: missing, this node is a watcher",))
        return self.provider

    @classmethod
    def load(cls, path: Path | None, env: Mapping[str, str] | None = None) -> Self:
        """Read `path` (None for variables alone) and `env` (the process's by default).

        Raises SettingsProblem with everything that is missing or wrong.
        """
        data = {} if path is None else _read(path)
        base = Path.cwd() if path is None else path.resolve().parent
        problems = list(_merge_env(data, os.environ if env is None else env))
        settings: Self | None = None
        try:
            settings = cls.model_validate(data, context={"base": base})
        except ValidationError as error:
            problems += [_describe(item) for item in error.errors(include_url=False)]
        problems += _cross_problems(data if settings is None else settings.model_dump())
        if problems or settings is None:
            raise SettingsProblem(tuple(dict.fromkeys(problems)))
        return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsProblem((f"{path}: {error.strerror}",)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsProblem((f"{path}: not TOML: {error}",)) from error


@dataclass(frozen=True, slots=True)
class _Name:
    """Where a variable's value belongs: a section ("" for the top) and a name in it."""

    section: str
    name: str


def _variables() -> dict[str, _Name]:
    found: dict[str, _Name] = {}
    for name, field in Settings.model_fields.items():
        section = _section_type(field.annotation)
        if section is None:
            found[f"{PREFIX}{name}".upper()] = _Name("", name)
            continue
        for inner in section.model_fields:
            found[f"{PREFIX}{name}_{inner}".upper()] = _Name(name, inner)
    return found


def _section_type(annotation: Any) -> type[_Section] | None:
    options = getattr(annotation, "__args__", (annotation,))
    return next((item for item in options if isinstance(item, type) and issubclass(item, _Section)), None)


def _merge_env(data: dict[str, Any], env: Mapping[str, str]) -> Iterator[str]:
    """Put the variables into `data`. Others with our prefix (a password, the command line's own) are let
    be.
    """
    for name, place in _variables().items():
        if name not in env:
            continue
        target = data.setdefault(place.section, {}) if place.section else data
        if not isinstance(target, dict):
            yield f"{place.section}: must be a table, to take {name}"
            continue
        target[place.name] = env[name]


def _describe(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{where}: missing, set it in the file or as {PREFIX}{where.replace('.', '_').upper()}"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown, check the spelling"
    return f"{where}: {item['msg'].removeprefix('Value error, ')}"


def _cross_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Problems between sections. Reads raw or validated data: it also runs when a single value is wrong."""
    chain, key, provider = (_table(data, name) for name in ("chain", "key", "provider"))
    if str(data.get("role")) == Role.PROVIDER and not provider:
        yield f"provider.address: missing, a provider needs it in the file or as {PREFIX}PROVIDER_ADDRESS"
    sources = [name for name in ("password_file", "password_env") if key.get(name)]
    if key.get("keystore") and len(sources) != 1:
        given = " and ".join(sources) or "neither"
        yield f"key: given {given}, a keystore needs exactly one of password_file and password_env"
    if sources and not key.get("keystore"):
        yield "key.keystore: missing, a password without one has no use"
    if _truth(provider.get("simulated_gpu")) and not _is_local(chain):
        where = f"refused on chain {chain.get('chain_id')}"
        yield f"provider.simulated_gpu: {where}, simulated metering is for local chains"
    tenants, sku = str(provider.get("gpu_tenants", 1)), str(provider.get("gpu_sku", ""))
    if sku and tenants != str(tenants_of(sku)):
        ending = f'end in "{shared_suffix(tenants)}"' if tenants != "1" else "not name a share"
        yield f"provider.gpu_sku: must {ending}, gpu_tenants is {tenants}"
    if provider.get("gpu_trace") and not _truth(provider.get("simulated_gpu")):
        yield "provider.gpu_trace: has no use without simulated_gpu"


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _truth(value: object) -> bool:
    return value is True or str(value).lower() in ("1", "true", "yes", "on")


def _is_local(chain: Mapping[str, Any]) -> bool:
    extra = split(chain.get("extra_local_chains"))
    listed = extra if isinstance(extra, (tuple, list)) else ()
    return str(chain.get("chain_id")) in {str(item) for item in (*LOCAL_CHAINS, *listed)}
