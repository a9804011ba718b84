"""A file held against the chain: its blocks, every settlement of them, what was burned, and who signed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scrip.audit.authority import Authority, Place
from scrip.audit.book import Book, Problem, settlements
from scrip.audit.collect import Line, lines
from scrip.audit.shapes import CONTRACTS
from scrip.chain import Chain
from scrip.errors import NotFound
from scrip.structs import ZERO_ADDRESS
from scrip.types import ClassTerms, Outcome
from scrip.verify import WATCHED
from scrip.view import ChainView


def header_problems(chain: Chain, book: Book) -> Iterator[Problem]:
    """Whether the file is of this deployment, and its blocks are still the chain's."""
    header = book.header
    if int(header["chainId"]) != chain.chain_id:
        yield Problem(1, "file.chain", f"the file is of chain {header['chainId']}, this is {chain.chain_id}")
        return
    for name in CONTRACTS:
        if header["contracts"][name] != chain.address(name):
            given = header["contracts"][name]
            yield Problem(1, "file.contracts", f"{name} is {given}, the deployment's {chain.address(name)}")
    yield from _block(chain, 1, int(header["fromBlock"]), header["fromBlockHash"])
    for number, block, stated in book.seals:
        yield from _block(chain, number, block, stated)


def _block(chain: Chain, number: int, block: int, stated: str) -> Iterator[Problem]:
    try:
        found = "0x" + chain.block_hash(block).hex()
    except NotFound:
        yield Problem(number, "block.hash", f"the node has no block {block}")
        return
    if found != stated:
        detail = (
            f"block {block} is {found} on chain, the file has {stated}: a reorganisation, or another chain"
        )
        yield Problem(number, "block.hash", detail)


def problems(chain: Chain, path: Path, book: Book) -> Iterator[Problem]:
    """Everything in a file that holds by itself and that the chain contradicts. Raises ChainError."""
    found = list(header_problems(chain, book))
    yield from found
    if found:
        return  # another chain's settlements would only repeat it
    first, view = int(book.header["fromBlock"]), chain.at(int(book.seal["toBlock"]))
    authority = Authority.read(view)
    yield from _Comparison(view, authority).run(path, first)
    yield from _burned(view, first, book)


def _burned(view: ChainView, first: int, book: Book) -> Iterator[Problem]:
    """The sums by class against the credits' own events, which no line is made of alone."""
    burned: dict[int, int] = defaultdict(int)
    for event in view.events("ComputeCredits", "TransferSingle", since=first, to=ZERO_ADDRESS):
        burned[int(event.args["id"])] += int(event.args["value"])
    for class_id in sorted({*burned, *book.burned}):
        ours, theirs = book.burned.get(class_id, 0), burned.get(class_id, 0)
        if ours != theirs:
            detail = f"class {class_id}: the lines settle {ours} units, the chain burned {theirs}"
            yield Problem(book.sealed_at, "burned.class", detail)


@dataclass(slots=True)
class _Comparison:
    """The file's lines beside the chain's, in the order both are in."""

    view: ChainView
    authority: Authority
    _expected: dict[str, Line] = field(default_factory=dict)
    _stated: dict[str, Line] = field(default_factory=dict)
    _classes: dict[int, ClassTerms] = field(default_factory=dict)

    def run(self, path: Path, first: int) -> Iterator[Problem]:
        expected = self._settlements(lines(self.view, self.authority, first), self._expected)
        stated = self._numbered(path)
        ours, theirs = next(expected, None), next(stated, None)
        last = 0
        while ours is not None or theirs is not None:
            if theirs is None or (ours is not None and _key(ours) < _key(theirs[1])):
                assert ours is not None  # noqa: S101 (one of the two is there)
                yield Problem(last, "burn.missing", f"{_named(ours)} has no line: it belongs after this one")
                ours = next(expected, None)
            elif ours is None or _key(theirs[1]) < _key(ours):
                last = theirs[0]
                yield Problem(last, "burn.unknown", f"the chain has no {_named(theirs[1])}")
                theirs = next(stated, None)
            else:
                last = theirs[0]
                yield from self._compare(last, ours, theirs[1])
                ours, theirs = next(expected, None), next(stated, None)

    def _settlements(self, found: Iterator[Line], attested: dict[str, Line]) -> Iterator[Line]:
        for line in found:
            if line["type"] == "attestation":
                attested[line["digest"]] = line
            else:
                yield line

    def _numbered(self, path: Path) -> Iterator[tuple[int, Line]]:
        for number, line in settlements(path):
            if line["type"] == "attestation":
                self._stated[line["digest"]] = line
            else:
                yield number, line

    def _compare(self, number: int, ours: Line, theirs: Mapping[str, Any]) -> Iterator[Problem]:
        odd = [name for name in sorted({*ours, *theirs} - {"previous"}) if ours.get(name) != theirs.get(name)]
        if odd:
            told = "; ".join(
                f"{name} {_short(theirs.get(name))}, on chain {_short(ours.get(name))}" for name in odd
            )
            yield Problem(number, "line.chain", f"{_named(ours)}: {told}")
        if ours["type"] != "job" or theirs.get("signed") is None:
            return
        signed = self._stated.get(theirs["signed"])
        known = self._expected.get(theirs["signed"])
        if signed is None or known is None:
            return  # said by `signed.receipt` or by `line.chain`
        if any(signed[name] != known[name] for name in known):
            yield Problem(number, "signed.chain", "its attestation isn't the one in the calldata")
        yield from self._signers(number, ours, signed)

    def _signers(self, number: int, line: Line, signed: Line) -> Iterator[Problem]:
        place = int(line["submission"]["block"]), int(line["submission"]["logIndex"])
        oracle, given = self.authority.oracle(line["provider"], place), signed["provider"]["signer"]
        if given != oracle:
            yield Problem(number, "signer.oracle", f"{given} signed, the provider's oracle key was {oracle}")
        receipt = line["receipt"]
        if int(receipt["outcome"]) == Outcome.COMPLETED and int(receipt["assurance"]) >= WATCHED:
            yield from self._watchers(number, line, place, [one["signer"] for one in signed["watchers"]])

    def _watchers(self, number: int, line: Line, place: Place, signers: list[str]) -> Iterator[Problem]:
        set_id = self._class(int(line["class"])).watcher_set
        active = self.authority.watchers(set_id, place)
        members = set(signers) & set(active.watchers) if active is not None else set()
        if active is None or len(members) < active.threshold:
            needed = active.threshold if active is not None else 1
            detail = (
                f"{len(members)} of watcher set {set_id} signed, {needed} were needed at block {place[0]}"
            )
            yield Problem(number, "signer.watchers", detail)

    def _class(self, class_id: int) -> ClassTerms:
        if class_id not in self._classes:
            self._classes[class_id] = self.view.class_terms(class_id)
        return self._classes[class_id]


def _key(line: Mapping[str, Any]) -> Place:
    return int(line["block"]), int(line["logIndex"])


def _named(line: Mapping[str, Any]) -> str:
    return f"{line['type']} of {line['units']} units of class {line['class']} in transaction {line['txHash']}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:78] + ".."
