"""Writing a file: only ever appended to, whole parts at a time, each closed by a seal.

A part is written beside the file first. One that a kill left half appended is the beginning of that, so the
next export finishes it; any other end without a seal is damage, and is said to be.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from scrip.audit.authority import Authority
from scrip.audit.book import Book, Problem, raw_lines
from scrip.audit.collect import Line, lines
from scrip.audit.onchain import header_problems
from scrip.audit.seals import seal_digest
from scrip.audit.shapes import CONTRACTS, SETTLEMENTS, VERSION, encode
from scrip.chain import Chain
from scrip.eip712 import Wallet, sign
from scrip.errors import BadInput, ScripError

SEAL_MARK: Final = b'"type":"seal"'
SEAL_END: Final = b"}\n"


class AuditDamaged(ScripError):
    """A file doesn't hold, so nothing is appended to it."""

    def __init__(self, path: Path, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{path} doesn't hold: {problem}. See all: scrip audit verify {path}")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did. `added` are settlements it appended; `head` is the hash of the file's last line."""

    book: Book
    added: int

    @property
    def head(self) -> str:
        """What commits to the whole file."""
        return self.book.head


def export(
    chain: Chain,
    path: Path,
    *,
    first: int | None = None,
    last: int | None = None,
    signer: Wallet | None = None,
) -> Exported:
    """Append the settlements of final blocks up to `last`, by default all, and seal them.

    `first` is where a new file begins, by default with the deployment. Raises BadInput, AuditDamaged,
    LedgerMismatch, ChainError.
    """
    final = chain.finalized()
    upto = final if last is None else last
    if upto > final:
        raise BadInput("--to-block", upto, f"at most {final}, the newest final block")
    with _alone(path):
        _finish(path)
        book = _read(chain, path)
        if book.header and first is not None:
            raise BadInput("--from-block", first, "left out: the file says where it begins and goes on")
        start = int(book.seal["toBlock"]) + 1 if book.seal else _start(chain, first)
        if upto < start:
            if book.header:
                return Exported(book, 0)
            raise BadInput("--to-block", upto, f"at least the first block, {start}")
        before = book.settlements
        with _part(path).open("wb") as part:
            _write(chain, book, part, start, upto, signer)
        _append(path, _part(path), 0)
        _part(path).unlink()
        return Exported(book, book.settlements - before)


def _start(chain: Chain, first: int | None) -> int:
    return chain.deployment.block if first is None else max(first, chain.deployment.block)


def _read(chain: Chain, path: Path) -> Book:
    """The file as it is, held against the chain as far as its blocks go. Raises AuditDamaged."""
    book = Book()
    for raw in raw_lines(path):
        for problem in book.add(raw)[1]:
            raise AuditDamaged(path, problem)
    if book.lines:
        for problem in (*book.end(), *header_problems(chain, book)):
            raise AuditDamaged(path, problem)
    return book


def _write(chain: Chain, book: Book, part: IO[bytes], start: int, upto: int, signer: Wallet | None) -> None:
    def put(line: Mapping[str, Any]) -> None:
        raw = encode({**line, "previous": book.head})
        for problem in book.add(raw)[1]:
            raise ScripError(f"the chain's data don't belong together: {problem}. Use another node")
        part.write(raw + b"\n")

    if not book.header:
        put(_header(chain, start))
    view, end = chain.at(upto), block_hash(chain, upto)
    for line in lines(view, Authority.read(view), start):
        # An attestation that an earlier part told, for other rows of its batch, isn't told again.
        if line["type"] in SETTLEMENTS or line["digest"] not in book.attested:
            put(line)
    if block_hash(chain, upto) != end:
        raise ScripError(f"block {upto} was replaced meanwhile: it isn't final. Give an older --to-block")
    put(_seal(book, upto, end, signer))
    part.flush()
    os.fsync(part.fileno())


def _header(chain: Chain, start: int) -> Line:
    return {
        "type": "header", "version": VERSION, "chainId": str(chain.chain_id),
        "contracts": {name: chain.address(name) for name in CONTRACTS}, "fromBlock": str(start),
        "fromBlockHash": block_hash(chain, start),
    }  # fmt: skip


def _seal(book: Book, upto: int, end: str, signer: Wallet | None) -> Line:
    seal = {
        "type": "seal", "toBlock": str(upto), "toBlockHash": end, "settlements": str(book.settlements),
        "burned": {str(key): str(units) for key, units in book.burned.items()}, "signature": None,
    }  # fmt: skip
    if signer is None:
        return seal
    message = seal_digest(
        seal | {"previous": book.head}, int(book.header["chainId"]), book.header["contracts"]["JobMarket"]
    )
    given = {"signer": str(signer.address), "signature": "0x" + sign(message, signer).hex()}
    return seal | {"signature": given}


def block_hash(chain: Chain, block: int) -> str:
    """Hash of a block, as a file has it. Raises NotFound."""
    return "0x" + chain.block_hash(block).hex()


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the file: two exports at once would both append. Raises BadInput."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise BadInput("FILE", str(path), f"a file that can be written ({error.strerror})") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _finish(path: Path) -> None:
    """Append what an export that was cut short had written in full, and not yet appended in full."""
    part = _part(path)
    if not part.exists():
        return
    if _sealed(part) == part.stat().st_size:
        have = path.stat().st_size - _sealed(path)
        if _holds(path, part, part.stat().st_size):
            have = part.stat().st_size
        if have == 0 or _holds(path, part, have):
            _append(path, part, have)
    part.unlink()


def _append(path: Path, part: Path, have: int) -> None:
    with part.open("rb") as new, path.open("ab") as file:
        new.seek(have)
        shutil.copyfileobj(new, file)
        file.flush()
        os.fsync(file.fileno())


def _sealed(path: Path) -> int:
    """Bytes up to the end of the last seal that is whole."""
    end = offset = 0
    with path.open("rb") as file:
        for raw in file:
            offset += len(raw)
            if raw.endswith(SEAL_END) and SEAL_MARK in raw:
                end = offset
    return end


def _holds(path: Path, part: Path, size: int) -> bool:
    """Whether the last `size` bytes of the file are the first of the part."""
    if path.stat().st_size < size:
        return False
    with path.open("rb") as file, part.open("rb") as new:
        file.seek(-size, os.SEEK_END)
        while size and (chunk := file.read(min(size, 1 << 20))):
            if chunk != new.read(len(chunk)):
                return False
            size -= len(chunk)
    return True
