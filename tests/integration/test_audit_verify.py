"""`scrip audit verify` on a real chain: what a forger gets right, and what the chain names all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scrip import keys
from scrip.audit.verify import Audit
from scrip.eip712 import receipt_digest
from scrip.types import Attestation
from tests.integration.audit_file import Line, Trail
from tests.integration.system import account, signed


def _first(lines: list[Line], kind: str, **changes: Any) -> list[Line]:
    at = next(number for number, line in enumerate(lines) if line["type"] == kind)
    return [*lines[:at], lines[at] | changes, *lines[at + 1 :]]


def _without(lines: list[Line], at: int) -> list[Line]:
    """One settlement of a type gone, with seals that fit."""
    return [*lines[:at], *lines[at + 1 :]]


def _index(lines: list[Line], kind: str) -> int:
    return next(number for number, line in enumerate(lines) if line["type"] == kind)


REWRITTEN: dict[str, tuple[Callable[[list[Line]], list[Line]], set[str]]] = {
    "a settlement left out": (
        lambda lines: _without(lines, _index(lines, "job")), {"burn.missing", "burned.class"}
    ),
    "a reclaim left out": (
        lambda lines: _without(lines, _index(lines, "reclaim")), {"burn.missing", "burned.class"}
    ),
    "a reclaim made up": (
        lambda lines: [
            *lines[:-1], lines[_index(lines, "reclaim")] | {"logIndex": "99"}, lines[-1]
        ], {"burn.unknown", "burned.class"}
    ),
    "more reclaimed": (lambda lines: _first(lines, "reclaim", units="12"), {"line.chain", "burned.class"}),
    "another class": (
        lambda lines: _first(lines, "reclaim", **{"class": "9"}), {"line.chain", "burned.class"}
    ),
    "what was paid": (lambda lines: _first(lines, "job", paid="1"), {"line.chain"}),
    "the time": (lambda lines: _first(lines, "job", time="1"), {"line.chain"}),
    "the transaction": (lambda lines: _first(lines, "session", txHash="0x" + "11" * 32), {"line.chain"}),
    "its block's hash": (lambda lines: _first(lines, "session", blockHash="0x" + "11" * 32), {"line.chain"}),
    "no signatures, no receipt": (
        lambda lines: _first(lines, "job", signed=None, receipt=None), {"line.chain"}
    ),
    "no voucher": (lambda lines: _first(lines, "session", voucher=None), {"line.chain"}),
    "the seal's block": (lambda lines: _first(lines, "seal", toBlockHash="0x" + "11" * 32), {"block.hash"}),
    "the header's block": (
        lambda lines: _first(lines, "header", fromBlockHash="0x" + "11" * 32), {"block.hash"}
    ),
    "another deployment": (
        lambda lines: _first(
            lines, "header", contracts=lines[0]["contracts"] | {"CreditReserve": "0x" + "11" * 20}
        ), {"file.contracts"}
    ),
    "a watcher left out": (
        lambda lines: [
            line | {"watchers": line["watchers"][:1]} if line.get("watchers") else line for line in lines
        ], {"signed.chain", "signer.watchers"}
    ),
}  # fmt: skip


def test_verify__file_rewritten_to_hold_by_itself__the_chain_names_each_lie(history: Trail) -> None:
    history.export()
    honest = history.lines()
    for name, (forge, expected) in REWRITTEN.items():
        history.rewrite(forge(honest))
        assert history.verify("--offline")["ok"], name
        assert history.fails() == expected, name
    history.rewrite(honest)
    assert history.verify()["ok"]


def test_verify__signed_by_others_than_could_sign_then__is_named(history: Trail) -> None:
    """A forger who holds keys: what they signed is right, and they weren't the ones to sign."""
    history.export()
    honest = history.lines()
    at = next(number for number, line in enumerate(honest) if line.get("watchers"))
    message = bytes.fromhex(honest[at]["digest"][2:])
    forged = {"signer": account("mallory").address, "signature": "0x" + _sign("mallory", message)}
    history.rewrite([*honest[:at], honest[at] | {"provider": forged}, *honest[at + 1 :]])
    assert history.verify("--offline")["ok"]
    assert history.fails() == {"signed.chain", "signer.oracle"}
    two = [{"signer": account(who).address, "signature": "0x" + _sign(who, message)} for who in ("eve", "ed")]
    history.rewrite([*honest[:at], honest[at] | {"watchers": two}, *honest[at + 1 :]])
    assert history.fails() == {"signed.chain", "signer.watchers"}


def _sign(who: str, message: bytes) -> str:
    (signature,) = signed(message, [who])
    return signature.hex()


def test_verify__keys_and_watchers_changed_since__those_of_the_time_count(trail: Trail) -> None:
    scene = trail.scene
    trail.watched(trail.open(4_000), 3_000)
    trail.watched(trail.open(4_000), 2_000)
    scene.send(
        "provider", "ProviderRegistry", "update", scene.at("key"), b"lab".ljust(12, b"\0"), "http://x/"
    )
    members = sorted((account(name).address for name in ("eve", "ed")), key=lambda one: int(one, 16))
    scene.system.send("ReceiptVerifier", "proposeSet", 1, members, 1)
    delay = int(scene.read("ReceiptVerifier", "ACTIVATION_DELAY"))
    scene.system.anvil.advance(delay + 1)
    scene.system.send("ReceiptVerifier", "activateSet", 1, members, 1)
    trail.export()
    assert trail.verify()["ok"]


def test_export__receipt_beside_the_call_that_counts__the_oracles_is_found(trail: Trail) -> None:
    """Who sends a transaction can append bytes that look like another submission of the same receipt."""
    scene = trail.scene
    terms = trail.open(4_000)
    receipt = scene.receipt(terms, 3_000)
    message = receipt_digest(receipt, *scene.domain("ReceiptVerifier"))
    market = scene.system.contract("JobMarket")
    fake = Attestation(bytes.fromhex(_sign("mallory", message)), ())

    def data(attestation: Attestation) -> str:
        rows = terms.to_abi(), receipt.to_abi(), attestation.to_abi()
        return str(market.encode_abi("submit", rows))

    # The bytes of a list of signatures that nobody looks at stand before those that count.
    good = scene.attest(message)
    decoy = Attestation(good.provider, (bytes.fromhex(data(fake)[2:]),))
    sent = scene.system.w3.eth.send_transaction(
        {"from": scene.system.admin, "to": market.address, "data": data(decoy)}  # type: ignore[typeddict-item]
    )
    assert scene.system.mined(sent)["status"] == 1
    trail.export()
    assert trail.of_type("attestation")[0]["provider"]["signer"] == scene.at("oracle")
    assert trail.of_type("attestation")[0]["watchers"] == []
    assert trail.verify()["ok"]


def test_verify__bundles__match_their_roots_or_are_named(trail: Trail) -> None:
    bundle, other = trail.evidenced(), trail.evidenced()
    trail.export()
    place = trail.folder / "evidence"
    place.mkdir()
    (place / f"0x{bundle.job_id.hex()}.json").write_bytes(bundle.encode())
    assert trail.verify("--bundles", str(place), "--offline")["bundles"] == 1
    forged = replace(bundle, output=b"other")
    (place / f"0x{bundle.job_id.hex()}.json").write_bytes(forged.encode())
    (place / f"0x{other.job_id.hex()}.json").write_bytes(b"{}")
    found = trail.verify("--bundles", str(place))
    assert [one["check"] for one in found["failures"]] == ["bundle.output.hash", "bundle.bundle.format"]
    (place / f"0x{other.job_id.hex()}.json").write_bytes(bundle.encode())
    assert "bundle.bundle.terms" in trail.fails("--bundles", str(place))


def test_export__signed__by_the_keystores_key(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    trail.watched(trail.open(4_000), 3_000)
    keystore, password = trail.folder / "key.json", "correct horse battery"
    monkeypatch.setenv("SCRIP_PASSWORD", password)
    monkeypatch.setenv("SCRIP_KEYSTORE", str(keystore))
    auditor = account("auditor")
    keystore.write_text(json.dumps(auditor.encrypt(password, kdf="pbkdf2", iterations=1_000)))
    keystore.chmod(0o600)
    assert keys.address_of(keystore)
    trail.export("--sign")
    assert trail.verify("--signer", auditor.address)["signedBy"] == auditor.address
    assert trail.fails("--signer", account("eve").address) == {"seal.signer"}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("verify", "{folder}/none.jsonl"), "FILE"),
        (("export", "{folder}/no/such/folder.jsonl"), "FILE"),
        (("export", "{folder}/a.jsonl", "--to-block", "999999"), "--to-block"),
        (("export", "{folder}/a.jsonl", "--since", "1", "--from-block", "1"), "--since"),
        (("verify", "{folder}/none.jsonl", "--head", "0x12"), "--head"),
        (("verify", "{folder}/none.jsonl", "--signer", "0x12"), "--signer"),
    ],
)
def test_audit__bad_input__one_line(trail: Trail, args: tuple[str, ...], text: str) -> None:
    result = trail.run(*(one.format(folder=trail.folder) for one in args))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert text in result.stderr


def test_verify__empty_file__is_no_audit_file(trail: Trail) -> None:
    trail.path.touch()
    assert trail.fails() == {"file.order"}
    assert [str(one) for one in Audit(trail.path).problems()] == ["file.order: no header"]
