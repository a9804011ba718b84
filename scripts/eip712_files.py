"""Test vectors of every EIP-712 message, of amounts and of the words for numbers, for other languages.

    python -m scripts.eip712_files [--check]

Written from `scrip`'s own code; `--check` only says whether they are up to date. `abi/test` recomputes them
with the npm package, whose encoder is viem's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from eth_utils.crypto import keccak

from scrip import amounts, eip712
from scrip import eip712_budgets as budgets
from scrip import eip712_credits as credit
from scrip import eip712_sessions as sessions
from scrip import eip712_watchers as watchers
from scrip.structs import Struct, to_address
from scrip.types import (
    Capacity,
    Commitment,
    Fault,
    Funding,
    JobTerms,
    Outcome,
    Receipt,
    Resource,
    Reveal,
    Status,
    Verdict,
)
from scrip.types_spending import Limits, Offer, Overcharge, SessionTerms

ROOT: Final = Path(__file__).resolve().parents[1]
VECTORS: Final = ROOT / "tests" / "vectors" / "eip712.json"
CHAIN_ID: Final = 31337
CASES: Final = ("least", "most", "mixed")

_Json = dict[str, Any]
_Digest = Callable[[_Json, str], bytes]

_MARKET: Final = "JobMarket"
_VERIFIER: Final = "ReceiptVerifier"
_SESSIONS: Final = "MeteredSessions"
_BUDGETS: Final = "SpendingBudgets"

# Messages that are structs of ours: the contract that checks them, and the digest function.
_STRUCTS: Final[tuple[tuple[str, type[Struct], Callable[..., bytes]], ...]] = (
    (_MARKET, JobTerms, eip712.job_id),
    (_MARKET, Verdict, watchers.verdict_digest),
    (_VERIFIER, Receipt, eip712.receipt_digest),
    (_VERIFIER, Commitment, watchers.commitment_digest),
    (_VERIFIER, Reveal, watchers.reveal_digest),
    (_SESSIONS, SessionTerms, sessions.session_id),
    (_SESSIONS, Overcharge, sessions.overcharge_digest),
    ("CreditExchange", Offer, credit.offer_digest),
    ("ProviderRegistry", Capacity, watchers.capacity_digest),
)

# The others: the function takes the message's fields one by one, in their order.
_FIELDS: Final[tuple[tuple[str, str, Callable[..., bytes]], ...]] = (
    (_MARKET, eip712.ACCEPTANCE_TYPE, eip712.acceptance_digest),
    (_MARKET, eip712.CANCEL_TYPE, eip712.cancel_digest),
    (_VERIFIER, eip712.BATCH_TYPE, eip712.batch_digest),
    (_SESSIONS, sessions.OPEN_SESSION_TYPE, sessions.open_session_digest),
    (_SESSIONS, sessions.VOUCHER_TYPE, sessions.voucher_digest),
    (_BUDGETS, budgets.CREATE_BUDGET_TYPE, budgets.create_budget_digest),
    (_BUDGETS, budgets.CREATE_CHILD_TYPE, budgets.create_child_digest),
    (_BUDGETS, budgets.SET_BUDGET_TYPE, budgets.set_budget_digest),
    (_BUDGETS, budgets.SET_PROVIDERS_TYPE, budgets.set_providers_digest),
    (_BUDGETS, budgets.REVOKE_TYPE, budgets.revoke_digest),
    ("ComputeCredits", credit.APPROVAL_TYPE, credit.approval_digest),
    ("PriceFeed", watchers.ANSWER_TYPE, watchers.answer_digest),
)


def messages() -> dict[str, tuple[str, str, _Digest]]:
    """Message -> its contract, its type string, and its digest by `scrip` of the JSON form at an address."""
    rows = [(at, kind.type_string(), _of_struct(kind, digest)) for at, kind, digest in _STRUCTS]
    rows += [(at, type_string, _of_fields(type_string, digest)) for at, type_string, digest in _FIELDS]
    return {type_string.partition("(")[0]: (at, type_string, digest) for at, type_string, digest in rows}


def _of_struct(kind: type[Struct], digest: Callable[..., bytes]) -> _Digest:
    return lambda message, at: digest(kind.from_json(message), CHAIN_ID, at)


def _of_fields(type_string: str, digest: Callable[..., bytes]) -> _Digest:
    types = dict(_fields(type_string))
    return lambda message, at: digest(
        *(_python(types[field], value) for field, value in message.items()), CHAIN_ID, at
    )


def _python(kind: str, value: Any) -> Any:
    """A value of a message's JSON form as `scrip` takes it."""
    if kind.endswith("[]"):
        return [_python(kind[:-2], item) for item in value]
    if kind == "Limits":
        return Limits.from_json(value)
    if kind == "bytes32":
        return bytes.fromhex(value[2:])
    return int(value) if "int" in kind else value


def vectors() -> dict[str, Any]:
    """The file's content."""
    contracts = {at: _address(at) for at, _, _ in messages().values()}
    return {
        "deployment": {"chainId": CHAIN_ID, "block": 1, "contracts": dict(sorted(contracts.items()))},
        "messages": [row for case in CASES for row in _rows(case, contracts)],
        "receiptHashes": [
            {"message": m, "hash": _hex(eip712.receipt_struct_hash(Receipt.from_json(m)))}
            for m in (_message(eip712.RECEIPT_TYPE, case) for case in CASES)
        ],
        "words": {kind.__name__: _words(kind) for kind in (Status, Resource, Funding, Outcome, Fault)},
        "final": [status.value for status in Status if status.final],
        "costs": [_cost(*row) for row in _AMOUNTS],
        "payOuts": [
            {"units": str(u), "backing": str(b), "supply": str(s), "payOut": str(amounts.pay_out(u, b, s))}
            for u, b, s in ((0, 0, 0), (1, 7, 3), (3, 7, 3), (10**18, 10**30 - 1, 3 * 10**18))
        ],
        "texts": [
            {"decimals": d, "units": str(u), "text": amounts.format_units(u, d)}
            for u, d in ((0, 0), (1, 18), (-1, 3), (12_500, 3), (10**24, 6), (2**256 - 1, 77))
        ],
    }


# units, price of 1,000,000 credits, decimals
_AMOUNTS: Final = (
    (0, 1, 0), (1, 1, 0), (1, 2_000_000, 3), (999, 2_000_000, 3), (10**9, 2_000_001, 3),
    (2**96 - 1, 2**128 - 1, 18),
)  # fmt: skip


def _cost(units: int, price: int, decimals: int) -> dict[str, Any]:
    paid = amounts.cost(units, price, decimals)
    most = amounts.affordable(paid, price, decimals)
    return {
        "units": str(units), "price": str(price), "decimals": decimals, "cost": str(paid),
        "affordable": str(most),
    }  # fmt: skip


def _rows(case: str, contracts: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, (contract, type_string, digest) in messages().items():
        message = _message(type_string, case)
        yield {"name": name, "message": message, "digest": _hex(digest(message, contracts[contract]))}


def _message(type_string: str, case: str) -> dict[str, Any]:
    """A message in its JSON form with values as far out as its types allow, or anything between."""
    name = type_string.partition("(")[0]
    return {field: _value(kind, field, f"{name}.{field}", case) for field, kind in _fields(type_string)}


def _fields(type_string: str) -> list[tuple[str, str]]:
    """(name, type) of each field of the first struct of an EIP-712 type string."""
    inside = type_string.partition("(")[2].partition(")")[0]
    return [(name, kind) for kind, _, name in (field.partition(" ") for field in inside.split(","))]


def _value(kind: str, field: str, path: str, case: str) -> Any:
    word = {"least": bytes(32), "most": b"\xff" * 32, "mixed": keccak(text=path)}[case]
    if kind.endswith("[]"):
        least = 1 if field == "receipts" else 0  # a batch of no receipts can't be signed
        lengths = {"least": least, "most": 3, "mixed": 2}
        return [_value(kind[:-2], "", f"{path}[{place}]", case) for place in range(lengths[case])]
    if kind == "Limits":
        return _message(budgets.LIMITS_TYPE, case)
    if kind == "bool":
        return bool(word[0] & 1)
    if kind == "address":
        return to_address(path, _hex(word[12:]))
    if kind == "bytes32":
        return _hex(word)
    if kind == "int256":
        return str({"least": -(2**255), "most": 2**255 - 1, "mixed": -int(word[1:].hex(), 16)}[case])
    number = int.from_bytes(word, "big") % 2 ** int(kind.removeprefix("uint"))
    return str(number % 3 if field in ("outcome", "fault") else number)  # these have three values


def _words(kind: type[IntEnum]) -> list[str]:
    if kind is Resource:
        return [resource.label for resource in Resource]
    return [member.name.lower() for member in kind]


def _address(contract: str) -> str:
    return to_address(contract, _hex(keccak(text=contract)[12:]))


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def main() -> int:
    """Write or check the file; returns the exit status."""
    text = json.dumps(vectors(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        current = VECTORS.is_file() and VECTORS.read_text("utf-8") == text
        if not current:
            print(f"{VECTORS.relative_to(ROOT)} is stale: run python -m scripts.eip712_files")
        return 0 if current else 1
    VECTORS.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
