"""A file checked by itself, line after line: the chain of hashes, the seals, and what was signed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from scrip.audit import linked
from scrip.audit.linked import Domains, Fault
from scrip.audit.seals import seal_digest
from scrip.audit.shapes import MAX_LINE, SETTLEMENTS, START, Malformed, decode, digest_of
from scrip.eip712 import recover
from scrip.errors import BadInput, BadSignature
from scrip.structs import to_bytes


class Problem(NamedTuple):
    """What is wrong with a line (0: with the file as a whole), and the check that says so."""

    line: int
    check: str
    detail: str

    def __str__(self) -> str:
        return (
            f"line {self.line}: {self.check}: {self.detail}" if self.line else f"{self.check}: {self.detail}"
        )


@dataclass(slots=True)
class Book:
    """What the lines so far say. `burned` is base units by class, `head` the hash of the last line.

    `seal` is the last seal and `sealed_at` its line's number. `unlinked` counts settlements whose calldata
    showed no receipt or voucher; `signed` are those whose key is a contract.
    """

    header: dict[str, Any] = field(default_factory=dict)
    lines: int = 0
    head: str = START
    settlements: int = 0
    burned: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    seal: dict[str, Any] = field(default_factory=dict)
    sealed_at: int = 0
    seals: list[tuple[int, int, str]] = field(default_factory=list)
    heads: set[str] = field(default_factory=set)
    unlinked: int = 0
    attested: dict[str, frozenset[str]] = field(default_factory=dict)
    _cumulative: dict[str, int] = field(default_factory=dict)
    _at: tuple[int, int] = (-1, -1)
    _domains: Domains | None = None

    def add(self, raw: bytes) -> tuple[dict[str, Any], list[Problem]]:
        """Take the next line, without its line end. The line (empty if it can't be read) and its faults."""
        self.lines += 1
        expected, self.head = self.head, digest_of(raw)
        try:
            line = decode(raw)
        except Malformed as malformed:
            return {}, [Problem(self.lines, "file.format", str(malformed))]
        faults = list(self._faults(line, expected))
        return line, [Problem(self.lines, *fault) for fault in faults]

    def end(self) -> Iterator[Problem]:
        """What is wrong with the file as it ends here."""
        if not self.header:
            yield Problem(0, "file.order", "no header")
        elif self.sealed_at != self.lines:
            yield Problem(
                self.lines, "file.order", "the last line isn't a seal: what follows the last is cut off"
            )

    def _faults(self, line: dict[str, Any], expected: str) -> Iterator[Fault]:
        if line["previous"] != expected:
            detail = f"it follows {line['previous']}, the line before it is {expected}"
            yield "chain.previous", f"{detail}: a line was changed, dropped, inserted or moved"
        kind = line["type"]
        if (kind == "header") != (self.lines == 1):
            yield "file.order", "the first line, and no other, is the header"
        if kind == "header":
            self.header = self.header or line
            self._domains = self._domains or Domains.of(line)
        elif self._domains is None:
            return
        elif kind == "seal":
            yield from self._seal(line, self._domains)
        elif kind == "attestation":
            self.attested[line["digest"]] = frozenset(line["receipts"])
            yield from linked.attestation(line, self._domains)
        else:
            yield from self._settlement(line, self._domains)

    def _settlement(self, line: dict[str, Any], domains: Domains) -> Iterator[Fault]:
        here = int(line["block"]), int(line["logIndex"])
        first = int(self.seal["toBlock"]) + 1 if self.seal else int(self.header["fromBlock"])
        if here <= self._at or here[0] < first:
            yield "line.order", f"block {here[0]}, log {here[1]} doesn't come after the line before it"
        self._at = max(self._at, here)
        self.settlements += 1
        self.burned[int(line["class"])] += int(line["units"])
        if line["type"] == "job":
            self.unlinked += line["signed"] is None
            yield from linked.job(line, self.attested, domains)
        elif line["type"] == "session":
            self.unlinked += line["voucher"] is None
            before = self._cumulative.get(line["session"])
            self._cumulative[line["session"]] = int(line["cumulative"])
            yield from linked.session(line, before, domains)

    def _seal(self, line: dict[str, Any], domains: Domains) -> Iterator[Fault]:
        end, last = int(line["toBlock"]), int(self.seal["toBlock"]) if self.seal else -1
        if end < self._at[0] or end <= last or end < int(self.header["fromBlock"]):
            yield "seal.range", f"it ends with block {end}, which earlier lines reach or pass"
        if int(line["settlements"]) != self.settlements:
            yield "seal.count", f"it counts {line['settlements']} settlements, there are {self.settlements}"
        burned = {str(key): str(units) for key, units in self.burned.items()}
        if line["burned"] != burned:
            yield "seal.burned", f"it says {line['burned']} were burned by class, the lines say {burned}"
        self.seal, self.sealed_at = line, self.lines
        self.seals.append((self.lines, end, line["toBlockHash"]))
        self.heads.add(self.head)
        if line["signature"] is not None:
            given = line["signature"]
            message = seal_digest(line, domains.chain_id, domains.market)
            yield from linked.signer("seal.signature", message, given["signer"], given["signature"])


def raw_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without their ends; of a last line that was cut off, what is there.

    Raises BadInput if the file can't be read.
    """
    try:
        with path.open("rb") as file:
            while raw := file.readline(MAX_LINE + 2):
                yield raw.removesuffix(b"\n")
    except OSError as error:
        raise BadInput("FILE", str(path), f"an audit file that can be read ({error.strerror})") from None


def signed_by(book: Book) -> str | None:
    """Who signed the last seal, None if nobody did."""
    given = book.seal.get("signature")
    if given is None:
        return None
    message = seal_digest(book.seal, int(book.header["chainId"]), book.header["contracts"]["JobMarket"])
    try:
        return recover(message, to_bytes("signature", given["signature"]))
    except BadSignature:
        return None


def settlements(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Settlements and attestations of a file that holds by itself, with the numbers of their lines."""
    for number, raw in enumerate(raw_lines(path), 1):
        line = decode(raw)
        if line["type"] in (*SETTLEMENTS, "attestation"):
            yield number, line
