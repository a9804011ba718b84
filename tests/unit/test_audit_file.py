"""An audit file by itself: whatever happens to its lines is found, whoever did it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrip.audit.book import Book, Problem, signed_by
from scrip.audit.seals import seal_digest
from scrip.audit.shapes import CONTRACTS, START, Malformed, decode, encode, members, schema
from scrip.audit.verify import Audit
from scrip.eip712 import VERIFIER_DOMAIN, digest, domain_separator, job_id, receipt_struct_hash, sign
from scrip.eip712_sessions import session_id, voucher_digest
from scrip.types import JobTerms, Outcome, Receipt
from scrip.types_spending import SessionTerms
from tests.integration.system import account

CHAIN = 31337
AT = {name: f"0x{number:040x}" for number, name in enumerate(CONTRACTS, 1)}
PAYER, PROVIDER, ORACLE, KEY = (account(name) for name in ("payer", "provider", "oracle", "key"))
H = {name: "0x" + byte * 32 for name, byte in (("tx", "aa"), ("block", "bb"))}
Line = dict[str, Any]


def settled(kind: str, block: int, units: int) -> Line:
    return {
        "type": kind, "block": str(block), "blockHash": H["block"], "txHash": H["tx"], "logIndex": "3",
        "time": "1760000000", "class": "1", "payer": PAYER.address, "budget": "0", "units": str(units),
        "paid": "5",
    }  # fmt: skip


def job(block: int, units: int, salt: int) -> list[Line]:
    """An attestation and the job that it is for."""
    terms = JobTerms(PAYER.address, PROVIDER.address, 1, 1_000, 1, 10, 20, b"\x07" * 32, 0, salt)
    ident = job_id(terms, CHAIN, AT["JobMarket"])
    receipt = Receipt(ident, Outcome.COMPLETED, units, 5, 6, 7, 11, 12, b"\x01" * 32, b"\x02" * 32, 1)
    struct = receipt_struct_hash(receipt)
    message = digest(domain_separator(VERIFIER_DOMAIN, CHAIN, AT["ReceiptVerifier"]), struct)
    attestation = {
        "type": "attestation", "digest": "0x" + message.hex(), "batch": False,
        "receipts": ["0x" + struct.hex()], "watchers": [],
        "provider": {"signer": ORACLE.address, "signature": "0x" + sign(message, ORACLE).hex()},
    }  # fmt: skip
    line = settled("job", block, units) | {
        "provider": PROVIDER.address, "job": "0x" + ident.hex(), "nonce": "9", "terms": terms.to_json(),
        "receiptHash": "0x" + struct.hex(), "receipt": receipt.to_json(),
        "submission": {"block": str(block), "txHash": H["tx"], "logIndex": "3"},
        "signed": attestation["digest"],
    }  # fmt: skip
    return [attestation, line]


def claim(block: int, units: int, total: int) -> list[Line]:
    terms = SessionTerms(PAYER.address, PROVIDER.address, 1, KEY.address, 99, 0, 5)
    ident = session_id(terms, CHAIN, AT["MeteredSessions"])
    message = voucher_digest(ident, total + 3, CHAIN, AT["MeteredSessions"])
    return [
        settled("session", block, units) | {
            "provider": PROVIDER.address, "session": "0x" + ident.hex(), "terms": terms.to_json(),
            "cumulative": str(total),
            "voucher": {
                "authorised": str(total + 3), "signature": "0x" + sign(message, KEY).hex(), "contract": False
            },
        }
    ]  # fmt: skip


def seal(block: int, count: int, burned: int) -> Line:
    return {
        "type": "seal", "toBlock": str(block), "toBlockHash": H["block"], "settlements": str(count),
        "burned": {"1": str(burned)}, "signature": None,
    }  # fmt: skip


HEADER = {
    "type": "header", "version": 1, "chainId": str(CHAIN), "contracts": AT, "fromBlock": "1",
    "fromBlockHash": H["block"],
}  # fmt: skip


FIRST = {**HEADER, "previous": START}


def honest() -> list[Line]:
    """Two parts: jobs and a claim, then a claim and a reclaim."""
    return [
        HEADER, *job(2, 40, 1), *job(3, 50, 2), *claim(4, 10, 10), seal(5, 3, 100),
        *claim(6, 7, 17), settled("reclaim", 7, 3), seal(8, 5, 110),
    ]  # fmt: skip


def chained(lines: list[Line]) -> list[bytes]:
    """The lines as an exporter writes them, each with the hash of the one before."""
    book, raw = Book(), []
    for line in lines:
        raw.append(encode({**line, "previous": book.head}))
        book.add(raw[-1])
    return raw


def problems(raw: list[bytes]) -> list[Problem]:
    book, found = Book(), []
    for one in raw:
        found += book.add(one)[1]
    return [*found, *book.end()]


def checks(raw: list[bytes]) -> set[str]:
    return {problem.check for problem in problems(raw)}


def test_book__honest_file__holds_and_adds_up() -> None:
    book = Book()
    for raw in chained(honest()):
        assert book.add(raw)[1] == []
    assert not list(book.end())
    assert (book.settlements, dict(book.burned), book.unlinked) == (5, {1: 110}, 0)


@given(st.data())
def test_chain__any_line_changed_dropped_inserted_or_moved__is_found(data: st.DataObject) -> None:
    raw = chained(honest())
    at = data.draw(st.integers(0, len(raw) - 1), label="line")
    kind = data.draw(st.sampled_from(["change", "drop", "repeat", "swap", "cut"]), label="tampering")
    forged = list(raw)
    if kind == "change":
        place = data.draw(st.integers(0, len(raw[at]) - 1), label="byte")
        other = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at][place]), label="value")
        forged[at] = raw[at][:place] + bytes([other]) + raw[at][place + 1 :]
        if at == len(raw) - 1 and not problems(forged):
            # The last line has no line after it: what it says of the block is the chain's to check.
            assert json.loads(forged[at])["toBlock"] != "8" or H["block"].encode() not in forged[at]
            return
    elif kind == "drop":
        del forged[at]
    elif kind == "repeat":
        forged.insert(data.draw(st.integers(0, len(raw)), label="place"), raw[at])
    elif kind == "swap":
        other = data.draw(st.integers(0, len(raw) - 1).filter(lambda one: one != at), label="with")
        forged[at], forged[other] = forged[other], forged[at]
    else:
        forged = forged[:at]
        if at == 7:  # cut off at the first seal: a whole file of then, which only a known head tells apart
            assert problems(forged) == []
            return
    assert problems(forged), kind


def change(place: int, **values: Any) -> Callable[[list[Line]], list[Line]]:
    def forge(lines: list[Line]) -> list[Line]:
        return [line | values if at == place else line for at, line in enumerate(lines)]

    return forge


def inside(place: int, member: str, **values: Any) -> Callable[[list[Line]], list[Line]]:
    return lambda lines: change(place, **{member: lines[place][member] | values})(lines)


OTHER = account("other").address
FORGED_AGAIN = {
    "units of a job": (change(2, units="41"), {"job.units", "seal.burned"}),
    "a receipt's units": (inside(2, "receipt", units="41"), {"receipt.hash"}),
    "the receipt's hash": (change(2, receiptHash="0x" + "cc" * 32), {"receipt.hash", "signed.receipt"}),
    "the evidence root": (inside(2, "receipt", evidenceRoot="0x" + "cc" * 32), {"receipt.hash"}),
    "the output hash": (inside(2, "receipt", outputHash="0x" + "cc" * 32), {"receipt.hash"}),
    "the assurance": (inside(2, "receipt", assurance="3"), {"receipt.hash"}),
    "another job's receipt": (
        lambda lines: change(2, receipt=lines[4]["receipt"])(lines), {"receipt.hash", "receipt.job"},
    ),
    "the payer": (change(2, payer=OTHER), {"job.terms"}),
    "payer and terms": (
        lambda lines: inside(2, "terms", payer=OTHER)(change(2, payer=OTHER)(lines)), {"job.terms"},
    ),
    "the budget": (change(2, budget="7"), {"job.terms"}),
    "signatures left out": (change(2, signed=None), {"signed.receipt"}),
    "the attestation left out": (lambda lines: lines[:1] + lines[2:], {"signed.receipt"}),
    "another signer": (
        lambda lines: inside(1, "provider", signer=OTHER)(lines), {"signed.provider"},
    ),
    "another signature": (
        lambda lines: inside(1, "provider", signature=lines[3]["provider"]["signature"])(lines),
        {"signed.provider"},
    ),
    "a watcher who didn't sign": (
        lambda lines: change(1, watchers=[{**lines[1]["provider"], "signer": OTHER}])(lines),
        {"signed.watchers"},
    ),
    "another receipt attested": (
        change(1, receipts=["0x" + "cc" * 32]), {"signed.digest", "signed.provider"},
    ),
    "a line dropped": (lambda lines: lines[:4] + lines[5:], {"seal.count", "seal.burned"}),
    "a claim dropped": (lambda lines: lines[:5] + lines[6:], {"seal.count", "seal.burned"}),
    "a line twice": (lambda lines: [*lines[:3], *lines[2:]], {"line.order", "seal.count", "seal.burned"}),
    "lines swapped": (lambda lines: [*lines[:1], *lines[3:5], *lines[1:3], *lines[5:]], {"line.order"}),
    "a claim's units": (change(7, units="6"), {"session.cumulative", "seal.burned"}),
    "more than authorised": (inside(5, "voucher", authorised="9"), {"session.voucher"}),
    "a voucher of somebody": (inside(5, "terms", key=OTHER), {"session.terms", "session.voucher"}),
    "a seal's sum": (change(6, burned={"1": "99"}), {"seal.burned"}),
    "a seal's count": (change(6, settlements="4"), {"seal.count"}),
    "a seal's block": (change(6, toBlock="3"), {"seal.range"}),
    "no seal": (lambda lines: lines[:-1], {"file.order"}),
    "two headers": (lambda lines: [HEADER, *lines], {"file.order"}),
    "no header": (lambda lines: lines[1:], {"file.order"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED_AGAIN)
def test_book__forged_and_chained_anew__is_found_by_name(name: str) -> None:
    forge, expected = FORGED_AGAIN[name]
    found = checks(chained(forge(honest())))
    assert expected <= found, found
    assert "chain.previous" not in found


def test_book__seal_signed_by_another_or_for_another_head__is_found() -> None:
    lines, auditor = honest(), account("auditor")
    book = Book()
    for raw in chained(lines[:-1]):
        book.add(raw)
    message = seal_digest(lines[-1] | {"previous": book.head}, CHAIN, AT["JobMarket"])
    signature = {"signer": auditor.address, "signature": "0x" + sign(message, auditor).hex()}
    good = chained([*lines[:-1], lines[-1] | {"signature": signature}])
    assert problems(good) == []
    for raw in good:
        book = Book() if raw is good[0] else book
        book.add(raw)
    assert signed_by(book) == auditor.address
    moved = chained([*lines[:7], lines[7] | {"paid": "6"}, lines[8], lines[9] | {"signature": signature}])
    assert checks(moved) == {"seal.signature"}


def test_audit__known_head__finds_a_file_cut_short_or_replaced(tmp_path: Path) -> None:
    raw, path = chained(honest()), tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(raw) + b"\n")
    whole, first = Audit(path), Audit(path)
    assert list(whole.problems()) == []
    for one in raw[:7]:
        first.book.add(one)
    early, head = first.book.head, whole.book.head
    assert list(Audit(path, head=early).problems()) == []
    path.write_bytes(b"\n".join(raw[:7]) + b"\n")
    assert list(Audit(path).problems()) == []
    assert [one.check for one in Audit(path, head=head).problems()] == ["file.head"]


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"[1]", b"nonsense", b'{"type":"job"}', b'{"type":["job"]}', b"[" * 100_000, b"\xff",
        b" " + encode(FIRST), encode({**FIRST, "more": 1}), encode({**FIRST, "version": True}),
        encode({**FIRST, "version": 2}), encode({**FIRST, "chainId": "01"}),
        encode({**FIRST, "chainId": 1}),
        encode(FIRST).replace(b'"fromBlock":"1"', b'"fromBlock":"1","fromBlock":"1"'),
    ],
    ids=range(15),
)  # fmt: skip
def test_decode__anything_but_a_canonical_line__malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decode(raw)


PLAIN = st.none() | st.booleans() | st.integers() | st.text()
NAMES = st.sampled_from([*members("job"), "x"])


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_decode__any_json__malformed_and_nothing_else(value: object) -> None:
    with pytest.raises(Malformed):
        decode(json.dumps(value).encode())


def test_schema__published__is_the_codes_and_takes_every_line() -> None:
    command = [sys.executable, "-m", "scripts.audit_files", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    validator = jsonschema.Draft202012Validator(schema())
    for raw in chained(honest()):
        validator.validate(json.loads(raw))
    assert not validator.is_valid({**FIRST, "chainId": "01"})
