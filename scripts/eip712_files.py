"""Test vectors of every EIP-712 message, of amounts and of the words for numbers, for other languages.

    python -m scripts.eip712_files [--check]

Written from `scrip`'s own code; `--check` only says whether they are up to date. `abi/test` recomputes them with the
npm package, whose encoder is viem's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from eth_utils.crypto import keccak

from scrip import amounts, eip712, eip712_budgets, eip712_credits, eip712_sessions, eip712_watchers
from scrip.structs import to_address
from scrip.types import (
    Capacity, Commitment, Fault, Funding, JobTerms, Outcome, Receipt, Resource, Reveal, Status, Verdict,
)  # fmt: skip
from scrip.types_spending import Limits, Offer, Overcharge, SessionTerms

ROOT: Final = Path(__file__).resolve().parents[1]
VECTORS: Final = ROOT / "tests" / "vectors" / "eip712.json"
CHAIN_ID: Final = 31337
CASES: Final = ("least", "most", "mixed")

_Digest = Callable[[dict[str, Any], str], bytes]
_C = CHAIN_ID


def messages() -> dict[str, tuple[str, str, _Digest]]:
    """Message -> its contract, its type string, and its digest by `scrip` from the JSON form and the address."""
    e, b, c, s, w = eip712, eip712_budgets, eip712_credits, eip712_sessions, eip712_watchers
    market, verifier, sessions, budgets = "JobMarket", "ReceiptVerifier", "MeteredSessions", "SpendingBudgets"

    def limits(m: dict[str, Any]) -> Limits:
        return Limits.from_json(m["limits"])

    rows: list[tuple[str, str, _Digest]] = [
        (market, e.JOB_TERMS_TYPE, lambda m, at: e.job_id(JobTerms.from_json(m), _C, at)),
        (market, e.ACCEPTANCE_TYPE, lambda m, at: e.acceptance_digest(_raw(m["jobId"]), _C, at)),
        (
            market,
            e.CANCEL_TYPE,
            lambda m, at: e.cancel_digest(_raw(m["jobId"]), int(m["deadline"]), _C, at),
        ),
        (market, w.VERDICT_TYPE, lambda m, at: w.verdict_digest(Verdict.from_json(m), _C, at)),
        (verifier, e.RECEIPT_TYPE, lambda m, at: e.receipt_digest(Receipt.from_json(m), _C, at)),
        (verifier, e.BATCH_TYPE, lambda m, at: e.batch_digest([_raw(r) for r in m["receipts"]], _C, at)),
        (verifier, w.COMMITMENT_TYPE, lambda m, at: w.commitment_digest(Commitment.from_json(m), _C, at)),
        (verifier, w.REVEAL_TYPE, lambda m, at: w.reveal_digest(Reveal.from_json(m), _C, at)),
        (sessions, s.SESSION_TERMS_TYPE, lambda m, at: s.session_id(SessionTerms.from_json(m), _C, at)),
        (
            sessions,
            s.OPEN_SESSION_TYPE,
            lambda m, at: s.open_session_digest(
                _raw(m["sessionId"]), int(m["units"]), int(m["deadline"]), _C, at
            ),
        ),
        (
            sessions,
            s.VOUCHER_TYPE,
            lambda m, at: s.voucher_digest(_raw(m["sessionId"]), int(m["units"]), _C, at),
        ),
        (sessions, s.OVERCHARGE_TYPE, lambda m, at: s.overcharge_digest(Overcharge.from_json(m), _C, at)),
        (
            budgets,
            b.CREATE_BUDGET_TYPE,
            lambda m, at: b.create_budget_digest(
                m["owner"], m["token"], limits(m), m["providers"], *_once(m), _C, at
            ),
        ),
        (
            budgets,
            b.CREATE_CHILD_TYPE,
            lambda m, at: b.create_child_digest(
                m["controller"], int(m["parent"]), limits(m), m["providers"], *_once(m), _C, at
            ),
        ),
        (
            budgets,
            b.SET_BUDGET_TYPE,
            lambda m, at: b.set_budget_digest(
                m["controller"], int(m["budgetId"]), limits(m), *_once(m), _C, at
            ),
        ),
        (
            budgets,
            b.SET_PROVIDERS_TYPE,
            lambda m, at: b.set_providers_digest(
                m["controller"], int(m["budgetId"]), m["providers"], m["listed"], *_once(m), _C, at
            ),
        ),
        (
            budgets,
            b.REVOKE_TYPE,
            lambda m, at: b.revoke_digest(m["controller"], int(m["budgetId"]), *_once(m), _C, at),
        ),
        (
            "ComputeCredits",
            c.APPROVAL_TYPE,
            lambda m, at: c.approval_digest(m["owner"], m["operator"], m["approved"], *_once(m), _C, at),
        ),
        ("CreditExchange", c.OFFER_TYPE, lambda m, at: c.offer_digest(Offer.from_json(m), _C, at)),
        ("ProviderRegistry", w.CAPACITY_TYPE, lambda m, at: w.capacity_digest(Capacity.from_json(m), _C, at)),
        (
            "PriceFeed",
            w.ANSWER_TYPE,
            lambda m, at: w.answer_digest(
                int(m["roundId"]), int(m["answer"]), int(m["observedAt"]), _C, at
            ),
        ),
    ]  # fmt: skip
    return {type_string.partition("(")[0]: (at, type_string, digest) for at, type_string, digest in rows}


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
    (0, 1, 0), (1, 1, 0), (1, 2_000_000, 3), (999, 2_000_000, 3), (10**9, 2_000_001, 3), (2**96 - 1, 2**128 - 1, 18),
)  # fmt: skip


def _cost(units: int, price: int, decimals: int) -> dict[str, Any]:
    paid = amounts.cost(units, price, decimals)
    most = amounts.affordable(paid, price, decimals)
    return {
        "units": str(units), "price": str(price), "decimals": decimals, "cost": str(paid), "affordable": str(most),
    }  # fmt: skip


def _rows(case: str, contracts: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, (contract, type_string, digest) in messages().items():
        message = _message(type_string, case)
        yield {"name": name, "message": message, "digest": _hex(digest(message, contracts[contract]))}


def _message(type_string: str, case: str) -> dict[str, Any]:
    """A message in its JSON form with values as far out as its types allow, or anything between."""
    name, _, rest = type_string.partition("(")
    fields = (field.split(" ") for field in rest.partition(")")[0].split(","))
    return {field: _value(kind, field, f"{name}.{field}", case) for kind, field in fields}


def _value(kind: str, field: str, path: str, case: str) -> Any:
    word = {"least": bytes(32), "most": b"\xff" * 32, "mixed": keccak(text=path)}[case]
    if kind.endswith("[]"):
        least = 1 if field == "receipts" else 0  # a batch of no receipts can't be signed
        lengths = {"least": least, "most": 3, "mixed": 2}
        return [_value(kind[:-2], "", f"{path}[{place}]", case) for place in range(lengths[case])]
    if kind == "Limits":
        return _message(eip712_budgets.LIMITS_TYPE, case)
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


def _once(message: Mapping[str, Any]) -> tuple[int, int]:
    return int(message["nonce"]), int(message["deadline"])


def _address(contract: str) -> str:
    return to_address(contract, _hex(keccak(text=contract)[12:]))


def _raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


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
