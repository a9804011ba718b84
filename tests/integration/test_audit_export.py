"""`scrip audit` on a real chain: what it exports, appends and finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scrip import deployments, keys
from scrip.audit import export as exports
from scrip.audit.book import Book, raw_lines
from scrip.audit.export import AuditDamaged
from scrip.audit.shapes import encode
from scrip.audit.verify import Audit
from scrip.cli.main import app
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash
from scrip.evidence import Bundle, Result, Sample, evidence_root, output_hash, seal
from scrip.spec import JobSpec, spec_hash
from scrip.types import Attestation, JobTerms
from tests.integration.scene import Scene
from tests.integration.system import account, signed

BUYER, OTHER = "sponsor", "buyer"
SPEC = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 1})
Line = dict[str, Any]


@dataclass(slots=True)
class Trail:
    """A history that goes on, and the file that follows it."""

    scene: Scene
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "audit.jsonl"

    def open(self, units: int, who: str = BUYER, **changes: Any) -> JobTerms:
        terms = self.scene.job(who, max_units=units, **changes)
        self.scene.send(who, "JobMarket", "open", terms.to_abi(), self.scene.quote(terms))
        return terms

    def settle(self, *jobs: tuple[JobTerms, int], watchers: int = 0, **changes: Any) -> None:
        """A batch that settles these jobs."""
        scene = self.scene
        receipts = [scene.receipt(terms, units, **changes) for terms, units in jobs]
        hashes = [receipt_struct_hash(receipt) for receipt in receipts]
        attestation = scene.attest(batch_digest(hashes, *scene.domain("ReceiptVerifier")), watchers)
        rows = [terms.to_abi() for terms, _ in jobs], [receipt.to_abi() for receipt in receipts]
        watcher_set = 1 if watchers else 0
        scene.send("relayer", "JobMarket", "submitBatch", *rows, watcher_set, attestation.to_abi())

    def watched(self, terms: JobTerms, units: int) -> None:
        """One job alone, co-signed by two watchers."""
        scene = self.scene
        receipt = scene.receipt(terms, units, assurance=2)
        attestation = scene.attest(receipt_digest(receipt, *scene.domain("ReceiptVerifier")), 2)
        rows = terms.to_abi(), receipt.to_abi(), attestation.to_abi()
        scene.send("relayer", "JobMarket", "submit", *rows)

    def claim(self, *rows: tuple[Any, int]) -> None:
        claims = [self.scene.claim(terms, units) for terms, units in rows]
        self.scene.send("provider", "MeteredSessions", "claimBatch", self.scene.at("provider"), claims)

    def session(self, units: int, who: str) -> Any:
        terms = self.scene.session(who)
        self.scene.send(who, "MeteredSessions", "openSession", terms.to_abi(), units)
        return terms

    def windowed(self) -> int:
        return self.scene.system.create_class(
            price_per_million=10**12, max_rate=10**9, watcher_set=1, challenge_window=60, arbiter_set=1
        )

    def evidenced(self) -> Bundle:
        """A job whose evidence exists, settled at assurance 1."""
        scene = self.scene
        terms = self.open(1_000, spec_hash=spec_hash(SPEC))
        job, market = scene.job_id(terms), scene.at("JobMarket")
        state = scene.chain.at().job_state(job)
        rows = [("start", "lease", "lease_ms", 0), ("end", "lease", "lease_ms", 900)]
        taken = tuple(
            Sample(seq, state.opened_at * 1000 + value, value * 10**6, edge, source, "cpu", metric, value)
            for seq, (edge, source, metric, value) in enumerate(rows)
        )
        result = Result(0, None, "ok")
        sealed = seal(taken, result=result, attempt=1, sku="test-cpu")
        root = evidence_root(scene.chain.chain_id, market, job, state.nonce, sealed)
        receipt = scene.receipt(terms, 900, output_hash=output_hash(b"done"), evidence_root=root)
        scene.submit(terms, receipt)
        return Bundle(
            scene.chain.chain_id, market, job, state.nonce, terms, SPEC, sealed, b"done", result, receipt,
            False, 1,
        )  # fmt: skip

    # The command

    def run(self, *args: str) -> Any:
        path = deployments.save(self.scene.system.deployment, self.folder)
        options = ["--rpc", self.scene.system.anvil.url, "--deployment", str(path), "--json"]
        return CliRunner().invoke(app, [*options, "audit", *args])

    def export(self, *args: str) -> Any:
        result = self.run("export", str(self.path), *args)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def verify(self, *args: str) -> Any:
        """What the check prints; its failures are its exit status."""
        result = self.run("verify", str(self.path), *args)
        found = json.loads(result.stdout)
        assert result.exit_code == (0 if found["ok"] else 1), result.output
        assert result.stderr.count("\n") == (0 if found["ok"] else 1)
        return found

    def fails(self, *args: str) -> set[str]:
        return {one["check"] for one in self.verify(*args)["failures"]}

    # The file

    def lines(self) -> list[Line]:
        return [json.loads(raw) for raw in raw_lines(self.path)]

    def of_type(self, kind: str) -> list[Line]:
        return [line for line in self.lines() if line["type"] == kind]

    def rewrite(self, lines: list[Line]) -> None:
        """Write lines as one who knows the format does: hashes and seals are right again."""
        book, raw = Book(), []
        for line in lines:
            if line["type"] == "seal":
                burned = {str(key): str(units) for key, units in book.burned.items()}
                line = line | {"settlements": str(book.settlements), "burned": burned}
            raw.append(encode({**line, "previous": book.head}))
            book.add(raw[-1])
        self.path.write_bytes(b"\n".join(raw) + b"\n")


@pytest.fixture
def trail(scene: Scene, tmp_path: Path) -> Trail:
    scene.give(BUYER, 200_000)
    scene.give(OTHER, 50_000)
    return Trail(replace(scene), tmp_path)


@pytest.fixture
def history(trail: Trail) -> Trail:
    """A batch, a watched job, one through a window, one unused, claims of two sessions, and reclaims."""
    scene = trail.scene
    trail.settle((trail.open(7_000), 6_000), (trail.open(5_000, OTHER), 1), (trail.open(100), 0))
    trail.watched(trail.open(4_000), 3_000)
    one, two = trail.session(5_000, BUYER), trail.session(3_000, OTHER)
    trail.claim((one, 1_000), (two, 777))
    trail.claim((one, 2_500))
    windowed = trail.windowed()
    scene.give(OTHER, 9_000, windowed)
    waiting = trail.open(6_000, OTHER, class_id=windowed)
    trail.settle((waiting, 4_000))
    scene.system.anvil.advance(100)
    scene.send("relayer", "JobMarket", "finalize", waiting.to_abi())
    scene.system.send("ComputeCredits", "closeClass", scene.class_id)
    scene.send(OTHER, "CreditReserve", "reclaim", scene.class_id, 11)
    return trail


def test_export__every_kind__one_line_for_each_settlement_and_the_burns(history: Trail) -> None:
    done = history.export()
    scene = history.scene
    used = 6_000 + 1 + 3_000 + 1_777 + 1_500
    assert done["burned"] == {str(scene.class_id): str(used + 11), str(scene.class_id + 1): "4000"}
    assert (done["added"], done["settlements"], done["unlinked"]) == (8, 8, 0)
    jobs = history.of_type("job")
    assert [line["units"] for line in jobs] == ["6000", "1", "3000", "4000"]
    assert [line["receipt"]["units"] for line in jobs] == [line["units"] for line in jobs]
    assert jobs[0]["signed"] == jobs[1]["signed"] != jobs[2]["signed"]
    waited = jobs[3]
    assert int(waited["submission"]["block"]) < int(waited["block"])
    assert sum(int(line["paid"]) for line in history.lines() if "provider" in line and "paid" in line) == (
        scene.earned("provider")
    )
    batch, watched, _ = history.of_type("attestation")
    assert (len(batch["receipts"]), batch["batch"], len(watched["watchers"])) == (3, True, 2)
    found = history.verify()
    assert (found["ok"], found["settlements"], found["burned"]) == (True, 8, done["burned"])
    assert found["head"] == done["head"]


def test_export__again__appends_what_is_new_and_never_rewrites(history: Trail) -> None:
    history.export()
    before = history.path.read_bytes()
    assert history.export()["added"] == 0
    assert history.path.read_bytes() == before
    history.scene.class_id += 1
    scene = history.scene
    terms = history.open(2_000, OTHER)
    session = history.session(1_000, OTHER)
    head = history.export()["head"]
    assert history.verify("--head", head)["ok"]
    history.settle((terms, 1_000))
    scene.system.anvil.advance(100)
    scene.send("relayer", "JobMarket", "finalize", terms.to_abi())
    history.claim((session, 40))
    assert history.export()["added"] == 2
    history.claim((session, 100))
    done = history.export()
    assert history.path.read_bytes().startswith(before)
    assert [line["cumulative"] for line in history.of_type("session")[-2:]] == ["40", "100"]
    assert len(history.of_type("seal")) == 4
    assert history.verify("--head", head)["head"] == done["head"]


def test_export__range__is_that_of_the_blocks_and_continues(history: Trail) -> None:
    history.export()
    middle = history.of_type("job")[1]["block"]
    history.path.unlink()
    first = history.export("--to-block", middle)
    assert (first["added"], first["toBlock"]) == (2, middle)
    assert history.export()["added"] == 6
    assert history.verify()["ok"]
    history.path.unlink()
    later = history.export("--from-block", str(int(middle) + 1))
    assert (later["added"], later["fromBlock"]) == (6, str(int(middle) + 1))
    assert history.verify()["ok"]


def test_export__in_parts_within_a_batch__the_attestation_is_told_once(trail: Trail) -> None:
    scene = trail.scene
    scene.class_id = trail.windowed()
    scene.give(OTHER, 9_000, scene.class_id)
    one, two = trail.open(3_000, OTHER), trail.open(3_000, OTHER)
    trail.settle((one, 100), (two, 200))
    scene.system.anvil.advance(100)
    for terms in (one, two):
        scene.send("relayer", "JobMarket", "finalize", terms.to_abi())
        assert trail.export()["added"] == 1
    assert len(trail.of_type("attestation")) == 1
    assert trail.verify()["ok"]


@pytest.mark.parametrize(
    "cut", [lambda part: 0, lambda part: 1, lambda part: len(part) // 2, lambda part: len(part) - 1, len]
)
def test_export__killed_while_it_appends__is_finished_by_the_next(
    history: Trail, cut: Callable[[bytes], int], tmp_path: Path
) -> None:
    history.export("--to-block", _middle(history, tmp_path))
    first = history.path.read_bytes()
    history.export()
    whole = history.path.read_bytes()
    part = whole[len(first) :]
    history.path.write_bytes(first + part[: cut(part)])
    history.path.with_name("audit.jsonl.part").write_bytes(part)
    assert history.export()["added"] == 0
    assert history.path.read_bytes() == whole
    # Killed while it wrote the part: nothing of it counts.
    history.path.write_bytes(first)
    history.path.with_name("audit.jsonl.part").write_bytes(part[: len(part) // 2])
    history.export()
    assert history.path.read_bytes() == whole


def _middle(history: Trail, folder: Path) -> str:
    spare = replace(history, folder=folder / "spare")
    spare.folder.mkdir()
    spare.export()
    return str(spare.of_type("job")[2]["block"])


@pytest.mark.parametrize("damage", ["changed", "dropped", "cut", "torn"])
def test_export__damaged_file__refuses_to_append(history: Trail, damage: str) -> None:
    history.export()
    raw = history.path.read_bytes()
    lines = raw.splitlines(keepends=True)
    damaged = {
        "changed": raw.replace(b'"units":"6000"', b'"units":"6001"', 1),
        "dropped": b"".join(lines[:3] + lines[4:]),
        "cut": b"".join(lines[:-1]),
        "torn": raw[:-20],
    }[damage]
    history.path.write_bytes(damaged)
    result = history.run("export", str(history.path))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "doesn't hold: line " in result.stderr
    assert history.path.read_bytes() == damaged


def test_reorganisation__blocks_replaced__is_found_and_not_appended_to(history: Trail) -> None:
    anvil = history.scene.system.anvil
    history.scene.class_id += 1
    snapshot = anvil.rpc("evm_snapshot")
    history.open(100, OTHER)
    history.export()
    anvil.rpc("evm_revert", snapshot)
    assert history.fails() == {"block.hash"}  # the node has no such block any more
    anvil.advance(1_000)
    history.open(200, OTHER)
    anvil.rpc("anvil_mine", "0x5")
    assert history.fails() == {"block.hash"}
    with pytest.raises(AuditDamaged, match=r"block\.hash"):
        exports.export(history.scene.chain, history.path)


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
    assert scene.system.w3.eth.wait_for_transaction_receipt(sent)["status"] == 1
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
