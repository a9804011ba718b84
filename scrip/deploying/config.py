"""What a deployment is made of on each kind of chain, and the TOML file that changes it.

[roles]     # each is the deployer where it isn't given
admin = "0x.."            # may name the holders of the other roles, after the delay
issuers = ["0x.."]        # may create credit classes
pausers = ["0x.."]        # may pause a class's sales and new jobs for a while
watcher_admin = "0x.."    # may propose watcher sets
fee_collector = "0x.."    # may set the capped fees and collect them
[watchers]  # the first watcher set; without members none is made
members = ["0x..", "0x.."]
threshold = 2
[tokens]    # without a payment token DemoUSD is deployed, on local and test chains only
payment = "0x.."
stake = "0x.."            # the payment token where it isn't given
[delays]    # seconds; by kind of chain where they aren't given
admin = 172800
roles = 172800
unbonding = 1209600
activation = 604800
close = 86400
[disputes]
challenge_bond = 10000000 # stake token base units; needed unless the stake token is DemoUSD
[prices]
sequencer_feed = "0x.."   # tells whether a rollup's sequencer is up; the zero address for none
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scrip.errors import BadInput, ScripError
from scrip.keys import DEV_ADDRESSES, LOCAL_CHAINS
from scrip.structs import ZERO_ADDRESS, to_address

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

ROLLUPS: Final[Mapping[int, str]] = {10: "OP Mainnet", 8453: "Base", 42161: "Arbitrum One"}
"""Live chains whose sequencer may be down while prices move: their feed of its state must be named."""

DEMO_BOND = 10_000_000
"""Bond of a challenge in DemoUSD: 10 dollars."""

HOUR, DAY = 3_600, 86_400


class ChainKind(StrEnum):
    """What is at stake on a chain."""

    LOCAL = "local"
    TEST = "test"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds: hand-over of the admin role, grant of any other role, unbonding of stake, activation of a
    changed watcher set, closing of a session.
    """

    admin: int
    roles: int
    unbonding: int
    activation: int
    close: int


DEFAULT_DELAYS: Final[Mapping[ChainKind, Delays]] = {
    ChainKind.LOCAL: Delays(admin=0, roles=0, unbonding=60, activation=0, close=HOUR),
    ChainKind.TEST: Delays(admin=HOUR, roles=HOUR, unbonding=DAY, activation=HOUR, close=HOUR),
    # Holders need days to notice a change of watchers and leave; two weeks outlast a dispute over stake; in a
    # day a provider claims what it is owed.
    ChainKind.LIVE: Delays(admin=2 * DAY, roles=2 * DAY, unbonding=14 * DAY, activation=7 * DAY, close=DAY),
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
# The contracts' own limits: a longer delay would be a trap, a shorter one no protection.
UpTo30Days = Annotated[int, Field(ge=0, le=30 * DAY)]
UpTo90Days = Annotated[int, Field(ge=0, le=90 * DAY)]
CloseDelay = Annotated[int, Field(ge=HOUR, le=30 * DAY)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RoleOverrides(_Section):
    """The [roles] table."""

    admin: Address | None = None
    issuers: list[Address] = []
    pausers: list[Address] = []
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

    admin: UpTo30Days | None = None
    roles: UpTo30Days | None = None
    unbonding: UpTo90Days | None = None
    activation: UpTo30Days | None = None
    close: CloseDelay | None = None


class DisputeOverrides(_Section):
    """The [disputes] table."""

    challenge_bond: Annotated[int, Field(gt=0, lt=1 << 128)] | None = None


class PriceOverrides(_Section):
    """The [prices] table."""

    sequencer_feed: Address | None = None


class Overrides(_Section):
    """A deployment's TOML file."""

    roles: RoleOverrides = RoleOverrides()
    watchers: WatcherOverrides = WatcherOverrides()
    tokens: TokenOverrides = TokenOverrides()
    delays: DelayOverrides = DelayOverrides()
    disputes: DisputeOverrides = DisputeOverrides()
    prices: PriceOverrides = PriceOverrides()

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
    `challenge_bond` is stake token base units; the zero `sequencer_feed` is none.
    """

    chain_id: int
    kind: ChainKind
    deployer: str
    admin: str
    issuers: tuple[str, ...]
    pausers: tuple[str, ...]
    watcher_admin: str
    fee_collector: str
    watchers: tuple[str, ...]
    threshold: int
    payment_token: str | None
    stake_token: str | None
    delays: Delays
    challenge_bond: int
    sequencer_feed: str


def kind_of(chain_id: int) -> ChainKind:
    """A chain nobody told us about counts as one where money is at stake."""
    if chain_id in LOCAL_CHAINS:
        return ChainKind.LOCAL
    return ChainKind.TEST if chain_id in TEST_CHAINS else ChainKind.LIVE


def for_chain(chain_id: int, deployer: str, overrides: Overrides | None = None) -> DeployConfig:
    """Parameters for a deployment by `deployer` on chain `chain_id`.

    Raises ConfigProblem with everything that is missing or wrong: no payment token on a live chain, no bond
    in a token we know nothing of, no word on a rollup's sequencer, a threshold the watchers can't reach, a
    well-known development account off local chains.
    """
    given = Overrides() if overrides is None else overrides
    kind, roles, watchers = kind_of(chain_id), given.roles, given.watchers
    stake_token = given.tokens.stake or given.tokens.payment
    bond = given.disputes.challenge_bond
    config = DeployConfig(
        chain_id=chain_id,
        kind=kind,
        deployer=deployer,
        admin=roles.admin or deployer,
        issuers=tuple(roles.issuers) or (deployer,),
        pausers=tuple(roles.pausers) or (deployer,),
        watcher_admin=roles.watcher_admin or deployer,
        fee_collector=roles.fee_collector or deployer,
        watchers=tuple(sorted(watchers.members, key=lambda address: int(address, 16))),
        threshold=len(watchers.members) if watchers.threshold is None else watchers.threshold,
        payment_token=given.tokens.payment,
        stake_token=stake_token,
        delays=replace(DEFAULT_DELAYS[kind], **given.delays.model_dump(exclude_none=True)),
        challenge_bond=DEMO_BOND if bond is None else bond,
        sequencer_feed=given.prices.sequencer_feed or ZERO_ADDRESS,
    )
    if problems := (*_missing(config, given), *_problems(config)):
        raise ConfigProblem(problems)
    return config


def _missing(config: DeployConfig, given: Overrides) -> Iterator[str]:
    """What has a default on some chains, and must be said on this one."""
    if config.stake_token is not None and given.disputes.challenge_bond is None:
        yield "disputes.challenge_bond: missing: stake token base units that a lost challenge costs"
    if config.chain_id in ROLLUPS and given.prices.sequencer_feed is None:
        yield (
            f"prices.sequencer_feed: missing on {ROLLUPS[config.chain_id]}: Chainlink's sequencer uptime "
            "feed, or the zero address for none"
        )


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
        "roles.pausers": config.pausers,
        "roles.watcher_admin": (config.watcher_admin,),
        "roles.fee_collector": (config.fee_collector,),
        "watchers.members": config.watchers,
    }
    for where, addresses in named.items():
        for address in sorted(DEV_ADDRESSES.intersection(addresses)):
            yield f"{where}: {address} is a well-known development account, refused on {config.chain_id}"
