"""All checks of a file, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scrip.audit import evidence, onchain
from scrip.audit.book import Book, Problem, raw_lines, signed_by
from scrip.audit.evidence import Source
from scrip.chain import Chain


@dataclass(slots=True)
class Audit:
    """Checks a file. `chain` None asks no node, `bundles` None looks at no evidence.

    `head` is a hash that the file ended with once: it must have grown from there. `signer` must have signed
    the last seal. After `problems` `book` says what the file holds and `bundles_held` how many bundles were
    had and are their receipts'.
    """

    path: Path
    chain: Chain | None = None
    bundles: Source | None = None
    head: str | None = None
    signer: str | None = None
    book: Book = field(default_factory=Book)
    bundles_held: int = 0

    def problems(self) -> Iterator[Problem]:
        """What is wrong, as it is found. Raises BadInput if there is no file, ChainError."""
        damaged = False
        for problem in self._alone():
            damaged = True
            yield problem
        if damaged:
            return  # the chain is only asked about a file that holds by itself
        if self.chain is not None:
            yield from onchain.problems(self.chain, self.path, self.book)
        if self.bundles is not None:
            for found in evidence.problems(self.path, self.book.header, self.bundles):
                if found is not None:
                    yield found
                else:
                    self.bundles_held += 1

    def _alone(self) -> Iterator[Problem]:
        for raw in raw_lines(self.path):
            yield from self.book.add(raw)[1]
        yield from self.book.end()
        if self.head is not None and self.head not in self.book.heads:
            yield Problem(
                0, "file.head", f"no seal has the hash {self.head}: the file was cut short or replaced"
            )
        if self.signer is not None and (found := signed_by(self.book)) != self.signer:
            yield Problem(
                self.book.sealed_at, "seal.signer", f"signed by {found or 'nobody'}, not by {self.signer}"
            )
