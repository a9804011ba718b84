"""Samples: what metering recorded of one job, and the hash chain over them. Pure, no I/O.

`scrip.evidence` re-exports everything here that others need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak

from scrip.errors import BadInput, EvidenceInvalid
from scrip.merkle import merkle_root

EDGES: Final = ("start", "tick", "end")
SIMULATED_SOURCES: Final = frozenset({"nvml-replay"})
CLOSING_METRICS: Final = frozenset(
    {"attempt", "sku", "exit_reason", "exit_code", "exit_signal", "gpu_report"}
)
SOURCES: Final = SIMULATED_SOURCES | {
    "nvml", "cpu-rusage", "cpu-cgroup", "rapl", "tokens", "storage", "network", "lease",
}  # fmt: skip
METRICS: Final = CLOSING_METRICS | {
    "lease_ms", "energy_mj", "power_mw", "util_pct", "process_present", "cpu_us", "wall_ms", "rss_bytes",
    "input_tokens", "cached_tokens", "output_tokens", "stored_bytes", "moved_bytes", "platform",
    # A board that several jobs hold.
    "slice_us", "idle_mw", "share_slots", "share", "share_before", "share_total",
    "sm_weight", "sm_weight_before", "sm_weight_total",
    # Side information: nothing is billed by it.
    "package_uj", "energy_refused_mj", "memory_bytes", "process_sm_pct", "accounted_ms",
    "accounted_peak_bytes", "gpm_sm_pct", "gpm_tensor_pct", "gpm_dram_pct",
}  # fmt: skip
REASONS: Final = frozenset({"ok", "failed", "timeout", "memory", "output", "processes", "killed"})

HOST: Final = "cpu"
"""Device name of whatever belongs to the machine rather than to one GPU or model."""
MAX_INT: Final = 2**53 - 1  # every JSON reader, JavaScript's included, holds integers up to here exactly
DEVICE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")


class Check(NamedTuple):
    """A check that passed: its stable name and what was found."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of one metric of one device.

    `at_ms` is unix wall milliseconds, `mono_ns` monotonic nanoseconds since the lease started, `value` an
    integer in the unit that the metric's name ends in. The vocabulary is closed: a verifier refuses a source
    or metric it doesn't know rather than ignore it. Raises EvidenceInvalid("evidence.sample").
    """

    seq: int
    at_ms: int
    mono_ns: int
    edge: str
    source: str
    device: str
    metric: str
    value: int

    def __post_init__(self) -> None:
        for name in ("seq", "at_ms", "mono_ns", "value"):
            given = getattr(self, name)
            if type(given) is not int or not 0 <= given <= MAX_INT:
                raise EvidenceInvalid(
                    "evidence.sample", f"{name} {given!r:.80} is not an integer in 0..{MAX_INT}"
                )
        for name, allowed in (("edge", EDGES), ("source", SOURCES), ("metric", METRICS)):
            given = getattr(self, name)
            if not isinstance(given, str) or given not in allowed:
                raise EvidenceInvalid(
                    "evidence.sample", f"{name} {given!r:.80} is not one of {sorted(allowed)}"
                )
        if not isinstance(self.device, str) or not DEVICE.fullmatch(self.device):
            detail = f"device {self.device!r:.80} is not 1..128 printable ASCII characters"
            raise EvidenceInvalid("evidence.sample", detail)

    def to_json(self) -> dict[str, Any]:
        """The object whose canonical bytes are hashed."""
        return {name: getattr(self, name) for name in _SAMPLE_KEYS}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises EvidenceInvalid for a missing, unknown or wrong member."""
        return cls(**members(data, _SAMPLE_KEYS, "evidence.sample"))

    def canonical(self) -> bytes:
        """Canonical bytes: JSON with sorted keys, no spaces, ASCII only."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode(
            "ascii"
        )


_SAMPLE_KEYS: Final = ("seq", "at_ms", "mono_ns", "edge", "source", "device", "metric", "value")


@dataclass(frozen=True, slots=True)
class Result:
    """How the job's process ended. `reason` is the executor's (`oracle.executors.base.Exit`)."""

    exit_code: int | None
    signal: int | None
    reason: str

    def __post_init__(self) -> None:
        for name, given in (("exitCode", self.exit_code), ("signal", self.signal)):
            ok = given is None or (type(given) is int and 0 <= given <= 255)
            require(ok, "bundle.format", f"result.{name} {given!r:.80} is neither null nor in 0..255")
        known = isinstance(self.reason, str) and self.reason in REASONS
        require(known, "bundle.format", f"result.reason {self.reason!r:.80} is not one of {sorted(REASONS)}")

    @property
    def completed(self) -> bool:
        """Whether the job ended well; anything else is a failed job that costs nothing."""
        return self.reason == "ok" and self.exit_code == 0 and self.signal is None

    def to_json(self) -> dict[str, Any]:
        """JSON object of the bundle."""
        return {"exitCode": self.exit_code, "signal": self.signal, "reason": self.reason}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises EvidenceInvalid("bundle.format")."""
        got = members(data, ("exitCode", "signal", "reason"), "bundle.format")
        return cls(exit_code=got["exitCode"], signal=got["signal"], reason=got["reason"])


def seed(chain_id: int, market: str, job_id: bytes, nonce: int) -> bytes:
    """keccak256(abi.encode(uint256 chainId, address market, bytes32 jobId, uint96 nonce))."""
    if not 0 <= chain_id < 2**256 or not 0 <= nonce < 2**96 or len(job_id) != 32:
        raise BadInput("evidence seed", (chain_id, nonce, job_id), "a uint256, a uint96 and 32 bytes")
    head = chain_id.to_bytes(32, "big") + to_canonical_address(market).rjust(32, b"\0")
    return bytes(keccak(head + job_id + nonce.to_bytes(32, "big")))


def chain_links(start: bytes, samples: Iterable[Sample]) -> tuple[bytes, ...]:
    """link_0 = keccak(seed || keccak(canonical_0)), link_i = keccak(link_{i-1} || keccak(canonical_i))."""
    links: list[bytes] = []
    previous = start
    for sample in samples:
        previous = bytes(keccak(previous + keccak(sample.canonical())))
        links.append(previous)
    return tuple(links)


def evidence_root(chain_id: int, market: str, job_id: bytes, nonce: int, samples: Sequence[Sample]) -> bytes:
    """`Receipt.evidence_root` of a job's sealed samples. Raises BadInput without a sample."""
    return merkle_root(chain_links(seed(chain_id, market, job_id, nonce), samples))


def output_hash(output: bytes) -> bytes:
    """`Receipt.output_hash`: keccak256 of the output bytes."""
    return bytes(keccak(output))


def seal(
    samples: Sequence[Sample], *, result: Result, attempt: int, sku: str, reports: Sequence[bytes] = ()
) -> tuple[Sample, ...]:
    """The samples with closing rows that bind what else the bundle says: exit, attempt, SKU label and the
    digests of GPU reports (`scrip.attestation.GpuReport.digest`).

    The closing rows take the clocks of the last sample. Raises BadInput if there is none, EvidenceInvalid if
    a value doesn't fit a Sample.
    """
    if not samples:
        raise BadInput("samples", 0, "at least one", "record a sample at each edge of the lease")
    rows = [("job", "attempt", attempt), (sku, "sku", 1), (result.reason, "exit_reason", 1)]
    rows += [("job", "exit_code", result.exit_code)] if result.exit_code is not None else []
    rows += [("job", "exit_signal", result.signal)] if result.signal is not None else []
    rows += [("0x" + digest.hex(), "gpu_report", place) for place, digest in enumerate(reports)]
    last = samples[-1]
    closing = (
        Sample(last.seq + i, last.at_ms, last.mono_ns, "end", "lease", device, metric, value)
        for i, (device, metric, value) in enumerate(rows, 1)
    )
    return (*samples, *closing)


def sealed_sku(samples: Iterable[Sample]) -> str:
    """SKU label (GPU model, model id) in the closing samples. Raises EvidenceInvalid("evidence.seal")."""
    labels = [sample.device for sample in samples if sample.metric == "sku"]
    require(len(labels) == 1, "evidence.seal", f"{len(labels)} SKU labels instead of one")
    return labels[0]


def leased_gpus(samples: Iterable[Sample]) -> tuple[str, ...]:
    """UUIDs of the GPUs that the lease held, in order of appearance."""
    leased = (sample.device for sample in samples if sample.metric == "lease_ms")
    return tuple(dict.fromkeys(device for device in leased if device != HOST))


def platform_of(samples: Iterable[Sample]) -> str:
    """Processor that the job ran on, which what is only reproducible there is relative to; "" if unnamed."""
    return next((sample.device for sample in samples if sample.metric == "platform"), "")


def is_simulated(samples: Iterable[Sample]) -> bool:
    """Whether any sample comes from a simulated source."""
    return any(sample.source in SIMULATED_SOURCES for sample in samples)


def require(ok: object, check: str, detail: str) -> None:
    """Raise EvidenceInvalid(check, detail) unless `ok`."""
    if not ok:
        raise EvidenceInvalid(check, detail)


def members(data: object, keys: Sequence[str], check: str) -> dict[str, Any]:
    """`data` as a dict that has exactly `keys`, otherwise EvidenceInvalid(check)."""
    if not isinstance(data, Mapping) or set(data) != set(keys):
        shown = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise EvidenceInvalid(check, f"given {shown!s:.200}, must be an object with exactly {sorted(keys)}")
    return dict(data)
