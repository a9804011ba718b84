"""A finished job as people and programs see it: the receipt, who signed it, and which checks it passed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrip.amounts import format_units
from scrip.cli.output import clean, facts, hexed, units_json, utc
from scrip.errors import BadInput
from scrip.types import ClassInfo, JobTerms, Outcome, Receipt, Status

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.chain import Chain
    from scrip.evidence import Check
    from scrip.jobs import Ending
    from scrip.redeem import Redemption
    from scrip.signatures import Signatures

ASSURANCE = {
    0: "0, the provider's word",
    1: "1, hash-chained telemetry",
    2: "2, re-checked and co-signed by watchers",
    3: "3, confidential-computing report checked by watchers",
}
"""What the levels of `Receipt.assurance` mean."""

WATCHED = 2
"""From this assurance on the contract wants watchers' signatures."""

SIMULATED = "SIMULATED: this telemetry was replayed, no such hardware did the work"


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that ended with a receipt, its evidence checked. `opened` is its opening transaction."""

    job_id: bytes
    terms: JobTerms
    info: ClassInfo
    ending: Ending
    receipt: Receipt
    simulated: bool
    checks: Sequence[Check]
    output: bytes
    signatures: Signatures | None
    opened: bytes | None

    @property
    def completed(self) -> bool:
        """Whether the work was done; otherwise its credits went back."""
        return self.ending.status is Status.SETTLED and self.receipt.outcome is Outcome.COMPLETED

    def text(self) -> str | None:
        """The output as text, None if it isn't text."""
        try:
            return self.output.decode("utf-8")
        except UnicodeDecodeError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Everything; integers of the chain as decimal strings."""
        decimals = self.info.terms.decimals
        return {
            "jobId": hexed(self.job_id),
            "status": self.ending.status.name,
            "completed": self.completed,
            "simulated": self.simulated,
            "class": str(self.info.class_id),
            "provider": self.terms.provider,
            "payer": self.terms.payer,
            "locked": units_json(self.terms.max_units, decimals),
            "used": units_json(self.ending.units, decimals),
            "returned": units_json(self.terms.max_units - self.ending.units, decimals),
            "output": self.text(),
            "outputBase64": b64encode(self.output).decode("ascii"),
            "receipt": self.receipt.to_json(),
            "receiptHash": hexed(self.ending.receipt_hash),
            "signatures": self.signatures.to_json() if self.signatures else None,
            "checks": [{"name": check.name, "detail": check.detail} for check in self.checks],
            "transactions": {
                "open": hexed(self.opened) if self.opened else None,
                "end": hexed(self.ending.tx_hash),
            },
        }


def of_redemption(chain: Chain, info: ClassInfo, result: Redemption, opened: bytes | None) -> Finished:
    """A redemption as it came from the SDK, with its signers. `opened` is None where it isn't known."""
    job = result.plan.job_id
    return Finished(
        job, result.plan.terms, info, result.ending, result.receipt, result.simulated, result.checks,
        result.output, signed(chain, job, result.ending, info), opened,
    )  # fmt: skip


def print_all(console: Console, finished: Finished, target: Path | None = None) -> None:
    """Print the output, then the receipt."""
    show_output(console, finished, target)
    console.print()
    show(console, finished)


def signed(chain: Chain, job: bytes, ending: Ending, info: ClassInfo) -> Signatures | None:
    """Who signed the receipt of a job, None if that can't be told."""
    from scrip import signatures

    return signatures.find(chain, job, ending, info.terms)


def show_output(console: Console, finished: Finished, target: Path | None) -> None:
    """Print the output if it is text; say where it is if it was saved."""
    if target is not None:
        console.print(f"{len(finished.output)} bytes written to {target}")
    elif not finished.output:
        console.print("(no output)")
    elif (text := finished.text()) is not None:
        console.print(clean(text, lines=True).rstrip("\n"), soft_wrap=True)
    else:
        console.print(f"({len(finished.output)} bytes that aren't text; save them with --output FILE)")


def save_output(finished: Finished, target: Path | None) -> None:
    """Write the output as it is to `target`, if given. Raises BadInput."""
    if target is None:
        return
    try:
        target.write_bytes(finished.output)
    except OSError as error:
        raise BadInput("--output", str(target), f"a file that can be written ({error.strerror})") from None


def show(console: Console, finished: Finished) -> None:
    """Print the receipt."""
    if finished.simulated:
        console.print(SIMULATED, style="bold yellow")
    console.print("Receipt", style="bold")
    facts(console, [*_work(finished), *_proof(finished)])


def _work(finished: Finished) -> list[tuple[str, str]]:
    receipt, decimals = finished.receipt, finished.info.terms.decimals
    used, locked = finished.ending.units, finished.terms.max_units
    energy = receipt.gpu_millijoules
    tokens = receipt.input_tokens or receipt.output_tokens
    seconds = receipt.ended_at - receipt.started_at
    rows = [
        ("job", hexed(finished.job_id)),
        ("ended", f"{finished.ending.status.name.lower()}, work {receipt.outcome.name.lower()}"),
        (
            "used",
            f"{format_units(used, decimals)} of {format_units(locked, decimals)} credits"
            f" ({finished.info.terms.resource.label}s), {format_units(locked - used, decimals)} returned",
        ),
        ("energy", f"{format_units(energy, 3)} J (GPU)" if energy else "not measured"),
    ]
    if tokens:
        rows.append(("tokens", f"{receipt.input_tokens} in, {receipt.output_tokens} out"))
    return [*rows, ("ran", f"{utc(receipt.started_at)}, {seconds} s")]


def _proof(finished: Finished) -> list[tuple[str, str]]:
    receipt, by = finished.receipt, finished.signatures
    level = ASSURANCE.get(receipt.assurance, str(receipt.assurance))
    rows = [("assurance", f"{level}{' (simulated)' if finished.simulated else ''}")]
    if by is None:
        rows.append(("signed by", "not known to this node"))
    else:
        rows.append(("signed by", f"provider's key {by.provider}"))
        needed = f", {by.threshold} needed" if receipt.assurance >= WATCHED else ""
        rows.append(("watchers", f"{len(by.watchers)} signed{needed}"))
        rows += [("", who) for who in by.watchers]
    rows += [
        ("checked here", f"{len(finished.checks)} checks passed, output hash among them"),
        ("output hash", hexed(receipt.output_hash)),
        ("evidence root", hexed(receipt.evidence_root)),
    ]
    if finished.opened:
        rows.append(("opened in", hexed(finished.opened)))
    return [*rows, ("settled in", hexed(finished.ending.tx_hash))]
