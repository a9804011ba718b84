"""Many reads of one view function in one request.

The contract has no function that reads several slots, and reading them one request at a time costs more than
anything else a busy provider does. So the request carries its own loop: init code that is never deployed,
which calls the function once for each argument and returns the answers (a call without `to` runs its data as
init code; https://ethereum.org/en/developers/docs/apis/json-rpc/#eth_call). All answers are of one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from eth_typing import HexStr

from scrip.errors import ChainError

if TYPE_CHECKING:
    from scrip.chain import Chain

MAX_ANSWER: Final = 24_000
"""Bytes of answers in a request: what init code returns is measured like a contract's code (EIP-170)."""

_OUT: Final = 64
"""Where in memory the answers begin; before that are the call's selector and argument."""


def read(
    chain: Chain, at: str, selector: bytes, arguments: Sequence[bytes], size: int, block: int
) -> Iterator[bytes]:
    """The first `size` bytes of what the function of `at` returns for each of `arguments`, words of 32 bytes.

    Raises ChainError if the function reverts for one of them or returns less, or the node won't run the loop.
    """
    most = MAX_ANSWER // size
    for start in range(0, len(arguments), most):
        some = arguments[start : start + most]
        code = _loop(bytes.fromhex(at[2:]), selector, len(some), size) + b"".join(some)
        answer = chain.call({"data": HexStr("0x" + code.hex())}, block)
        if len(answer) != size * len(some):
            raise ChainError(f"the node answers {len(answer)} bytes to {len(some)} reads of {size} bytes")
        yield from (answer[at : at + size] for at in range(0, len(answer), size))


def _loop(at: bytes, selector: bytes, count: int, size: int) -> bytes:
    """Init code for `count` arguments, which follow it. The stack holds the number of the row at hand."""
    head = b"\x63" + selector + b"\x60\xe0\x1b\x60\x00\x52" + b"\x60\x00"  # mem[0] = selector; row = 0
    tail = b"\x5b\x60\x00\x60\x00\xfd"  # failed: revert
    # Operands are of fixed width: a draft tells where everything lies.
    failed = len(head) + len(_rows(at, count, size, 0, 0, 0))
    return head + _rows(at, count, size, len(head), failed, failed + len(tail)) + tail


def _rows(at: bytes, count: int, size: int, again: int, failed: int, table: int) -> bytes:
    def push(value: int) -> bytes:
        return b"\x61" + value.to_bytes(2)

    return b"".join(
        (
            b"\x5b",  # again:
            b"\x60\x20\x81\x60\x05\x1b"
            + push(table)
            + b"\x01\x60\x04\x39",  # mem[4] = code[table + 32 * row]
            push(size) + b"\x81" + push(size) + b"\x02" + push(_OUT) + b"\x01",  # size, _OUT + size * row
            b"\x60\x24\x60\x00\x73" + at + b"\x5a\xfa",  # staticcall(gas, at, 0, 36, _OUT + size * row, size)
            b"\x15" + push(size) + b"\x3d\x10\x17" + push(failed) + b"\x57",  # it failed, or returned less
            b"\x60\x01\x01\x80"
            + push(count)
            + b"\x11"
            + push(again)
            + b"\x57",  # row += 1, again if row < count
            push(size) + b"\x02" + push(_OUT) + b"\xf3",  # return(_OUT, size * row)
        )
    )
