"""What a deployment is made of on each kind of chain, and the TOML file that changes it.

[roles]     # each is the deployer where it isn't given
admin = "0x.."            # may name issuers, watcher administrators and fee collectors
issuers = ["0x.."]        # may create credit classes
watcher_admin = "0x.."    # may propose watcher sets
fee_collector = "0x.."    # may set the capped fee and collect it
[watchers]  # the first watcher set; without members none is made
members = ["0x..", "0x.."]
threshold = 2
[tokens]    # without a payment token DemoUSD is deployed, on local and test chains only
payment = "0x.."
stake = "0x.."            # the payment token where it isn't given
[delays]    # seconds; by kind of chain where they aren't given
admin = 172800
unbonding = 1209600
activation = 604800
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scrip.errors import BadInput, ScripError
from scrip.keys import DEV_ADDRESSES, LOCAL_CHAINS
from scrip.structs import to_address

TEST_CHAINS: Final[Mapping[int, str]] = {
    11155111: "Sepolia",
    560048: "Hoodi",
    84532: "Base Sepolia",
    421614: "Arbitrum Sepolia",
    11155420: "OP Sepolia",
}
"""Public chains whose coins have no value."""

MAX_WATCHERS = 32
"""`ReceiptVerifier.MAX_WATCHERS`."""

HOUR, DAY = 3_600, 86_400


class ChainKind(StrEnum):
    """What is at stake on a chain."""

    LOCAL = "local"
    TEST = "test"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds: hand-over of the admin role, unbonding of stake, activation of a changed watcher set."""

    admin: int
    unbonding: int
    activation: int


DEFAULT_DELAYS: Final[Mapping[ChainKind, Delays]] = {
    ChainKind.LOCAL: Delays(admin=0, unbonding=60, activation=0),
    ChainKind.TEST: Delays(admin=HOUR, unbonding=DAY, activation=HOUR),
    # Holders need days to notice a change of watchers and leave; two weeks outlast a dispute over stake.
    ChainKind.LIVE: Delays(admin=2 * DAY, unbonding=14 * DAY, activation=7 * DAY),
}


class ConfigProblem(ScripError):
    """One or more deployment parameters are missing or wrong; `problems` names each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        listed = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} deployment parameter(s) missing or wrong:{listed}")


def _address(value: str) -> str:
    try:
        return to_address("address", value)
    except BadInput as error:
        raise ValueError(f"must be {error.limit}") from None


Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[int, Field(ge=0, lt=1 << 48)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RoleOverrides(_Section):
    """The [roles] table."""

    admin: Address | None = None
    issuers: list[Address] = []
    watcher_admin: Address | None = None
    fee_collector: Address | None = None


class WatcherOverrides(_Section):
    """The [watchers] table."""

    members: list[Address] = []
    threshold: int | None = None


class TokenOverrides(_Section):
    """The [tokens] table."""

    payment: Address | None = None
    stake: Address | None = None


class DelayOverrides(_Section):
    """The [delays] table, seconds."""

    admin: Seconds | None = None
    unbonding: Seconds | None = None
    activation: Seconds | None = None


class Overrides(_Section):
    """A deployment's TOML file."""

    roles: RoleOverrides = RoleOverrides()
    watchers: WatcherOverrides = WatcherOverrides()
    tokens: TokenOverrides = TokenOverrides()
    delays: DelayOverrides = DelayOverrides()

    @classmethod
    def read(cls, path: Path) -> Overrides:
        """Read a TOML file. Raises ConfigProblem with everything that is wrong in it."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")))
        except OSError as error:
            raise ConfigProblem((f"{path}: {error.strerror}",)) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigProblem((f"{path}: not TOML: {error}",)) from error
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise ConfigProblem(tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found)) from None


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """Parameters of one deployment, complete. `payment_token` None: DemoUSD is deployed and used.

    `watchers` are in the ascending order the verifier asks for; none of them means no watcher set.
    """

    chain_id: int
    kind: ChainKind
    deployer: str
    admin: str
    issuers: tuple[str, ...]
    watcher_admin: str
    fee_collector: str
    watchers: tuple[str, ...]
    threshold: int
    payment_token: str | None
    stake_token: str | None
    delays: Delays


def kind_of(chain_id: int) -> ChainKind:
    """A chain nobody told us about counts as one where money is at stake."""
    if chain_id in LOCAL_CHAINS:
        return ChainKind.LOCAL
    return ChainKind.TEST if chain_id in TEST_CHAINS else ChainKind.LIVE


def for_chain(chain_id: int, deployer: str, overrides: Overrides | None = None) -> DeployConfig:
    """Parameters for a deployment by `deployer` on chain `chain_id`.

    Raises ConfigProblem with everything that is missing or wrong: no payment token on a live chain, a
    threshold the watchers can't reach, a well-known development account off local chains.
    """
    given = Overrides() if overrides is None else overrides
    kind, roles, watchers = kind_of(chain_id), given.roles, given.watchers
    base = DEFAULT_DELAYS[kind]
    config = DeployConfig(
        chain_id=chain_id,
        kind=kind,
        deployer=deployer,
        admin=roles.admin or deployer,
        issuers=tuple(roles.issuers) or (deployer,),
        watcher_admin=roles.watcher_admin or deployer,
        fee_collector=roles.fee_collector or deployer,
        watchers=tuple(sorted(watchers.members, key=lambda address: int(address, 16))),
        threshold=len(watchers.members) if watchers.threshold is None else watchers.threshold,
        payment_token=given.tokens.payment,
        stake_token=given.tokens.stake or given.tokens.payment,
        delays=Delays(
            admin=_or(given.delays.admin, base.admin),
            unbonding=_or(given.delays.unbonding, base.unbonding),
            activation=_or(given.delays.activation, base.activation),
        ),
    )
    if problems := tuple(_problems(config)):
        raise ConfigProblem(problems)
    return config


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _problems(config: DeployConfig) -> Iterator[str]:
    if config.kind is ChainKind.LIVE and config.payment_token is None:
        known = ", ".join(f"{chain} {name}" for chain, name in TEST_CHAINS.items())
        yield (
            f"tokens.payment: missing on chain {config.chain_id}; DemoUSD is for local chains "
            f"{sorted(LOCAL_CHAINS)} and test chains ({known}) only"
        )
    count = len(config.watchers)
    if len(set(config.watchers)) != count or count > MAX_WATCHERS:
        yield f"watchers.members: given {count}, must be at most {MAX_WATCHERS} different addresses"
    if not (1 if count else 0) <= config.threshold <= count:
        yield f"watchers.threshold: given {config.threshold}, must be 1 to the number of members, {count}"
    if config.kind is not ChainKind.LOCAL:
        yield from _development_accounts(config)


def _development_accounts(config: DeployConfig) -> Iterator[str]:
    named = {
        "the deployer": (config.deployer,),
        "roles.admin": (config.admin,),
        "roles.issuers": config.issuers,
        "roles.watcher_admin": (config.watcher_admin,),
        "roles.fee_collector": (config.fee_collector,),
        "watchers.members": config.watchers,
    }
    for where, addresses in named.items():
        for address in sorted(DEV_ADDRESSES.intersection(addresses)):
            yield f"{where}: {address} is a well-known development account, refused on {config.chain_id}"
