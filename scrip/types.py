"""Dataclasses that mirror the Solidity structs of `contracts/interfaces`, field for field.

Field order is the Solidity order (ABI and EIP-712 encoding depend on it). Units are base units: 1 credit =
`10**decimals` base units. Times on chain are unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from eth_utils.crypto import keccak

from scrip.errors import BadInput, NotFound
from scrip.structs import (
    Address,
    Bool,
    Bytes,
    Bytes12,
    Bytes20,
    Bytes32,
    BytesList,
    Struct,
    Text,
    Uint8,
    Uint16,
    Uint32,
    Uint40,
    Uint64,
    Uint96,
    Uint128,
    Uint256,
    to_address,
    to_int,
)


class Resource(IntEnum):
    """What a class's credits are units of."""

    NONE = 0
    GPU_SECOND = 1
    CPU_SECOND = 2
    OUTPUT_TOKEN = 3
    INPUT_TOKEN = 4
    GB_HOUR = 5
    GB_TRANSFER = 6

    @property
    def label(self) -> str:
        """Text for people, e.g. "GPU-second"."""
        return _RESOURCE_LABELS[self]


class Funding(IntEnum):
    """Where the backing of a class comes from."""

    SALE = 0
    STAKE = 1
    GRANT = 2


class Status(IntEnum):
    """State of a job. It never goes back."""

    NONE = 0
    OPEN = 1
    RUNNING = 2
    SUBMITTED = 3
    DISPUTED = 4
    SETTLED = 5
    REFUNDED = 6
    CANCELLED = 7
    EXPIRED = 8

    @property
    def final(self) -> bool:
        """True if nothing can change this job any more."""
        return self >= Status.SETTLED


class Fault(IntEnum):
    """Who paid for a wrong receipt, as arbiters see it."""

    NONE = 0
    PROVIDER = 1
    CHALLENGER = 2


class Outcome(IntEnum):
    """How a job's work ended."""

    NONE = 0
    COMPLETED = 1
    FAILED = 2


_RESOURCE_LABELS = {
    Resource.NONE: "none",
    Resource.GPU_SECOND: "GPU-second",
    Resource.CPU_SECOND: "CPU-second",
    Resource.OUTPUT_TOKEN: "output token",
    Resource.INPUT_TOKEN: "input token",
    Resource.GB_HOUR: "GB-hour",
    Resource.GB_TRANSFER: "GB transferred",
}


@dataclass(frozen=True, slots=True)
class ClassTerms(Struct):
    """Immutable terms of a credit class (`Types.ClassTerms`).

    `max_rate` is base units per second per resource; `price_per_million` is payment-token base units per
    1,000,000 credits, `stake_per_million` the same in the stake token; `expiry` 0 is never, `max_per_holder`
    0 is no limit; `region` is ASCII, zero-padded, all zero for any; `sku` is `sku_id(label)`; `arbiter_set`
    decides disputes about jobs and what was overcharged in sessions; it is needed with a `challenge_window`
    or with a `stake_per_million` of a class that isn't stake-funded.
    """

    issuer: Address
    resource: Resource
    decimals: Uint8
    funding: Funding
    transferable: Bool
    capacity_bound: Bool
    min_assurance: Uint8
    watcher_set: Uint32
    challenge_window: Uint32
    max_rate: Uint64
    expiry: Uint40
    max_supply: Uint128
    max_per_holder: Uint128
    sku: Bytes32
    region: Bytes12
    payment_token: Address
    price_per_million: Uint128
    price_feed: Address
    max_price_age: Uint32
    eligibility: Address
    arbiter_set: Uint32
    stake_per_million: Uint128
    max_deviation_bps: Uint16
    name: Text

    @property
    def region_label(self) -> str:
        """Region as text, "any" if the class isn't bound to one."""
        return region_text(self.region)


@dataclass(frozen=True, slots=True)
class JobTerms(Struct):
    """What a payer agrees to (`Types.JobTerms`). Its EIP-712 digest is the job id.

    `max_units` are base units, locked at opening; `resources` is how many (GPUs, cores) the job may use at
    once; `accept_by` and `submit_by` are unix seconds; `budget_id` 0 is no budget.
    """

    payer: Address
    provider: Address
    class_id: Uint256
    max_units: Uint128
    resources: Uint32
    accept_by: Uint40
    submit_by: Uint40
    spec_hash: Bytes32
    budget_id: Uint256
    salt: Uint256


@dataclass(frozen=True, slots=True)
class Receipt(Struct):
    """What a job used (`IReceiptVerifier.Receipt`), signed by the provider's oracle key.

    `units` are base units to settle (0 if `outcome` is FAILED), `gpu_millijoules` energy in mJ (0 where it
    isn't attributable), times are unix seconds, `assurance` 0..3 as in the design.
    """

    job_id: Bytes32
    outcome: Outcome
    units: Uint128
    gpu_millijoules: Uint64
    input_tokens: Uint64
    output_tokens: Uint64
    started_at: Uint40
    ended_at: Uint40
    output_hash: Bytes32
    evidence_root: Bytes32
    assurance: Uint8


@dataclass(frozen=True, slots=True)
class Attestation(Struct):
    """Signatures over a receipt or a batch: the provider's oracle key, watchers by ascending address."""

    provider: Bytes
    watchers: BytesList


@dataclass(frozen=True, slots=True)
class JobState(Struct):
    """A job's slot on chain (`IJobMarket.Job`).

    `opened_at` is unix seconds, `nonce` seeds the evidence's hash chain, `charge` is what the job's budget
    was charged, in base units of its token. All zero for a job that was never opened and for one that ended
    after its acceptBy: `scrip.jobs` tells them apart.
    """

    status: Status
    opened_at: Uint40
    nonce: Uint96
    charge: Uint96 = 0


@dataclass(frozen=True, slots=True)
class Submission(Struct):
    """A receipt waiting for its challenge window (`IJobMarket.Submission`). `finalize_at` is unix seconds."""

    units: Uint128
    finalize_at: Uint40
    assurance: Uint8
    outcome: Outcome
    receipt_hash: Bytes32


@dataclass(frozen=True, slots=True)
class Dispute(Struct):
    """A challenge of a submission (`IJobMarket.Dispute`). Arbiters decide until `decide_by`, unix seconds."""

    challenger: Address
    decide_by: Uint40


@dataclass(frozen=True, slots=True)
class Verdict(Struct):
    """What arbiters decide (`IJobMarket.Verdict`): the base units due and who was wrong."""

    job_id: Bytes32
    units: Uint128
    fault: Fault


@dataclass(frozen=True, slots=True)
class Capacity(Struct):
    """What watchers say a provider can deliver (`IProviderRegistry.attestCapacity`).

    `count` GPUs, cores or slots of the SKU work side by side until `until`, as seen at `observed_at` (unix
    seconds).
    """

    provider: Address
    sku: Bytes32
    watcher_set: Uint256
    count: Uint32
    until: Uint40
    observed_at: Uint40


@dataclass(frozen=True, slots=True)
class Commitment(Struct):
    """A watcher's sealed vote (`scrip.ballots`).

    `subject` is the digest it would co-sign, `evidence` the hash of the evidence it looked at.
    """

    subject: Bytes32
    evidence: Bytes32
    seal: Bytes32


@dataclass(frozen=True, slots=True)
class Reveal(Struct):
    """What opens a `Commitment`: the hash of the watcher's findings, and the salt that hid them."""

    subject: Bytes32
    evidence: Bytes32
    findings: Bytes32
    salt: Bytes32


@dataclass(frozen=True, slots=True)
class ServingTerms(Struct):
    """What a provider needs to serve a class (`Types.ServingTerms`).

    `requirement` is one word for SKU and region (`ProviderRegistry.requirementOf`), `listed` whether the
    class's own list admits the provider, `staked` whether its stake is set aside while it works.
    """

    requirement: Bytes20
    listed: Bool
    staked: Bool


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class and its money at one block. `supply` is base units, `backing` payment-token base units.

    `wound_down` is True once holders may reclaim the backing (closed by its issuer, or expired).
    """

    class_id: int
    terms: ClassTerms
    supply: int
    backing: int
    closed: bool
    wound_down: bool

    @property
    def label(self) -> str:
        """Short text for people: id, name and resource."""
        return f"{self.class_id} {self.terms.name} ({self.terms.resource.label})"


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A provider's record at one block. Amounts are stake-token base units, `unbonding_at` unix seconds."""

    address: str
    oracle: str
    region: bytes
    uri: str
    stake: int
    unbonding: int
    unbonding_at: int


@dataclass(frozen=True, slots=True)
class WatcherSet:
    """Members (ascending by address) of a watcher set and how many of them must sign."""

    set_id: int
    watchers: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses of one deployment by contract name. `block` is the first block that can hold its events.

    `explorer` is the base URL of a block explorer for the chain, "" for none.
    """

    chain_id: int
    block: int
    contracts: Mapping[str, str] = field(default_factory=dict)
    explorer: str = ""

    def __post_init__(self) -> None:
        to_int("deployment.chainId", self.chain_id)
        to_int("deployment.block", self.block)
        given = self.contracts.items()
        checked = {name: to_address(f"deployment.contracts.{name}", at) for name, at in given}
        object.__setattr__(self, "contracts", checked)

    def address(self, name: str) -> str:
        """Checksum address of contract `name`. Raises NotFound."""
        if name not in self.contracts:
            known = ", ".join(sorted(self.contracts)) or "none"
            raise NotFound("contract", name, f"The deployment on chain {self.chain_id} has {known}")
        return self.contracts[name]


def sku_id(label: str) -> bytes:
    """keccak256 of a SKU label such as "nvidia-h100-80gb" (`ClassTerms.sku`)."""
    return bytes(keccak(text=label))


def region_bytes(label: str) -> bytes:
    """`ClassTerms.region` of an ASCII label of at most 12 characters; "" and "any" are any region."""
    raw = b"" if label == "any" else label.encode("ascii", errors="replace")
    if len(raw) > 12 or (raw and not label.isascii()) or b"\0" in raw:
        raise BadInput("region", label, "at most 12 ASCII characters")
    return raw.ljust(12, b"\0")


def region_text(region: bytes) -> str:
    """Text of a region, "any" for the zero value."""
    return region.rstrip(b"\0").decode("ascii", errors="replace") or "any"
