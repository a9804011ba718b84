"""Eligibility end to end: the genuine EAS, credentials that an issuer signs, and what contracts then allow.

EAS is the bytecode that its authors publish on npm (tests/vectors/eas.json says which), not a double.
"""

from __future__ import annotations

import gzip
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from scrip import deployments
from scrip.calls import Call, signature
from scrip.chain import Chain
from scrip.cli.main import app
from scrip.errors import Reverted
from scrip.identity import eas
from scrip.identity.credentials import TYPE
from scrip.structs import ZERO_BYTES32
from tests.integration.system import System, account

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "eas.json").read_text("utf-8"))
PASSWORD = "open sesame"  # noqa: S105
ATTESTER, HOLDER, STRANGER = account("attester"), account("holder"), account("stranger")
LIST_URL = "https://issuer.example/status/1"
LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def did_key(key: Any) -> str:
    """did:key of a public key."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        raw = b"\xed\x01" + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        raw = b"\xe7\x01" + public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    number, text = int.from_bytes(raw), ""
    while number:
        number, rest = divmod(number, 58)
        text = LETTERS[rest] + text
    return f"did:key:z{text}"


def pkh(address: str, chain_id: int = 31337) -> str:
    return f"did:pkh:eip155:{chain_id}:{address}"


@dataclass
class Issuer:
    """Somebody who issues credentials, and a status list of them."""

    key: Any = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    did: str = ""
    revoked: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.did = self.did or did_key(self.key)

    def sign(self, payload: dict[str, Any]) -> str:
        algorithm = "EdDSA" if isinstance(self.key, ed25519.Ed25519PrivateKey) else "ES256K"
        return jwt.encode(payload, self.key, algorithm=algorithm)

    def credential(self, subject: str, **claims: Any) -> str:
        """VC-JWT of data model 1.1."""
        body = {
            "@context": ["https://www.w3.org/2018/credentials/v1"], "type": ["VerifiableCredential", TYPE],
            "credentialSubject": {"id": subject}, "credentialStatus": self.status(7),
        }  # fmt: skip
        changes = claims.pop("vc", {})
        return self.sign({"iss": self.did, "sub": subject, "vc": body | changes} | claims)

    def status(self, index: int, **changes: Any) -> dict[str, Any]:
        return {
            "type": "BitstringStatusListEntry", "statusPurpose": "revocation",
            "statusListIndex": str(index), "statusListCredential": LIST_URL,
        } | changes  # fmt: skip

    def status_list(self, **changes: Any) -> str:
        """The list as a credential of data model 2.0."""
        bits = bytearray(16_384)
        for index in self.revoked:
            bits[index // 8] |= 0x80 >> index % 8
        packed = urlsafe_b64encode(gzip.compress(bytes(bits))).decode().rstrip("=")
        return self.sign(
            {
                "issuer": self.did, "id": LIST_URL,
                "type": ["VerifiableCredential", "BitstringStatusListCredential"],
                "credentialSubject": {
                    "id": f"{LIST_URL}#list", "type": "BitstringStatusList", "statusPurpose": "revocation",
                    "encodedList": "u" + packed,
                },
            } | changes
        )  # fmt: skip


@dataclass
class Office:
    """An attester's desk: a class behind EAS, one behind a list, and keystores of everybody."""

    system: System
    folder: Path
    eas: str
    registry: str
    gate: str
    attested: int
    listed: int

    def run(self, who: Any, *args: str) -> Any:
        path = deployments.save(self.system.deployment, self.folder)
        keystore = self.folder / f"{who.address}.json"
        if not keystore.exists():
            keystore.write_text(json.dumps(who.encrypt(PASSWORD, kdf="pbkdf2", iterations=1_000)))
            keystore.chmod(0o600)
        env = {
            "SCRIP_RPC": self.system.anvil.url, "SCRIP_DEPLOYMENT": str(path),
            "SCRIP_KEYSTORE": str(keystore), "SCRIP_PASSWORD": PASSWORD, "SCRIP_STATE": str(self.folder),
        }  # fmt: skip
        return CliRunner().invoke(app, [*args, "--json"], env=env)

    def does(self, who: Any, *args: str) -> Any:
        result = self.run(who, "eligibility", *args)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, who: Any, *args: str) -> str:
        """The reason, one line; a credential's reason names its check."""
        result = self.run(who, "eligibility", *args)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
        return str(json.loads(result.stderr)["error"]["message"])

    def check(self, who: Any, class_id: int | None = None) -> tuple[bool, str]:
        found = self.does(who, "check", who.address, str(class_id or self.attested))
        return found["eligible"], found["why"]

    def buys(self, who: Any, class_id: int | None = None) -> Any:
        return self.run(who, "buy", str(class_id or self.attested), "1")

    def accept(self, token: str, issuer: Issuer, *options: str, proved_by: Any = HOLDER) -> tuple[str, ...]:
        """Arguments that present a credential with the holder's proof and the issuer's list."""
        (self.folder / "c.jwt").write_text(token)
        self.does(
            proved_by, "prove", str(self.folder / "c.jwt"), str(self.attested), "--out", str(self.proof)
        )
        return (
            "accept-credential", str(self.folder / "c.jwt"), str(self.attested), "--proof", str(self.proof),
            *self.trusts(issuer), *options,
        )  # fmt: skip

    def trusts(self, issuer: Issuer, **list_changes: Any) -> tuple[str, ...]:
        (self.folder / "list.jwt").write_text(issuer.status_list(**list_changes))
        return "--issuer", issuer.did, "--status-list", str(self.folder / "list.jwt")

    @property
    def proof(self) -> Path:
        return self.folder / "proof.json"

    @property
    def now(self) -> int:
        return int(self.system.w3.eth.get_block("latest")["timestamp"])


@pytest.fixture
def office(system: System, tmp_path: Path) -> Office:
    for who in ("attester", "holder", "stranger"):
        system.funded(who)
    system.mint(HOLDER.address, 10**12)
    system.mint(STRANGER.address, 10**12)
    registry = published(system, "SchemaRegistry")
    service = published(system, "EAS", registry)
    gate = system.create("AttestationEligibility", service, eas.schema_uid(), ATTESTER.address).address
    allowed = system.create("AllowListEligibility", ATTESTER.address).address
    attested, listed = (system.create_class(eligibility=at) for at in (gate, allowed))
    return Office(system, tmp_path, service, registry, gate, attested, listed)


def published(system: System, name: str, *args: Any) -> str:
    factory = system.w3.eth.contract(abi=VECTORS[name]["abi"], bytecode=VECTORS[name]["bytecode"])
    sent = factory.constructor(*args).transact({"from": system.admin})
    return str(system.mined(sent)["contractAddress"])


def test_attestation__issue_check_revoke__the_contracts_follow_and_exits_stay_open(office: Office) -> None:
    assert office.check(HOLDER) == (
        False,
        f"no attestation is registered; the attester is {ATTESTER.address}",
    )
    denied = office.buys(HOLDER)
    assert denied.exit_code == 1
    assert "ComputeCredits_NotEligible" in denied.stderr
    found = office.does(ATTESTER, "issue", HOLDER.address, str(office.attested), "--days", "30")
    assert found["eligible"]
    assert int(found["until"]) == pytest.approx(office.now + 30 * 86_400, abs=60)
    assert office.buys(HOLDER).exit_code == 0
    assert "ComputeCredits_NotEligible" in office.buys(STRANGER).stderr
    revoked = office.does(ATTESTER, "revoke", HOLDER.address, str(office.attested))
    assert (revoked["eligible"], " was revoked at " in revoked["why"]) == (False, True)
    assert "ComputeCredits_NotEligible" in office.buys(HOLDER).stderr
    (one,) = office.does(ATTESTER, "list", str(office.attested))["accounts"]
    assert (one["account"], one["eligible"]) == (HOLDER.address, False)
    # Nor can anybody send it credits.
    office.does(ATTESTER, "issue", STRANGER.address, str(office.attested))
    assert office.buys(STRANGER).exit_code == 0
    transfer = STRANGER.address, HOLDER.address, office.attested, 1, b""
    data = signature("ComputeCredits", "safeTransferFrom").encode(transfer)
    chain = chain_of(office)
    with pytest.raises(Reverted, match="ComputeCredits_NotEligible"):
        chain.call(Call(chain.address("ComputeCredits"), data).params(STRANGER.address))
    # Exits: to somebody who may receive, and for the backing once the class is closed.
    system = office.system
    moved = HOLDER.address, STRANGER.address, office.attested, 400, b""
    system.send("ComputeCredits", "safeTransferFrom", *moved, sender=HOLDER.address)
    system.send("ComputeCredits", "closeClass", office.attested)
    system.send("CreditReserve", "reclaim", office.attested, 600, sender=HOLDER.address)
    balance = system.contract("ComputeCredits").functions.balanceOf
    assert balance(HOLDER.address, office.attested).call() == 0
    assert balance(STRANGER.address, office.attested).call() == 1_400


def test_attestation__issued_again__nothing_is_sent_twice(office: Office) -> None:
    issue = ("issue", HOLDER.address, str(office.attested))
    office.does(ATTESTER, *issue)
    sent = office.system.w3.eth.get_transaction_count(ATTESTER.address)
    assert sent == 3  # the schema, the attestation, its registration
    office.does(ATTESTER, *issue)
    assert office.system.w3.eth.get_transaction_count(ATTESTER.address) == sent


def test_attestation__two_that_hold__revoking_ends_both(office: Office) -> None:
    """Anyone can register the other one: it must not hold either."""
    for days in ("10", "20"):
        office.does(ATTESTER, "issue", HOLDER.address, str(office.attested), "--days", days)
    office.does(ATTESTER, "revoke", HOLDER.address, str(office.attested))
    view = chain_of(office).at()
    made = list(eas.attestations(view, office.eas, HOLDER.address, ATTESTER.address, eas.schema_uid()))
    assert [bool(one.revoked) for one in made] == [True, True]
    office.does(ATTESTER, "issue", HOLDER.address, str(office.attested), "--days", "5")
    assert office.check(HOLDER)[0]


def chain_of(office: Office) -> Chain:
    return Chain.connect(office.system.anvil.url, office.system.deployment)


def test_attestation__time_passes__it_ends_by_itself(office: Office) -> None:
    office.does(ATTESTER, "issue", HOLDER.address, str(office.attested), "--days", "1")
    office.system.anvil.advance(86_401)
    eligible, why = office.check(HOLDER)
    assert (eligible, " expired at " in why) == (False, True)
    assert "ComputeCredits_NotEligible" in office.buys(HOLDER).stderr


def test_list__issue_check_revoke__the_contracts_follow(office: Office) -> None:
    listed = str(office.listed)
    assert office.check(HOLDER, office.listed) == (False, f"not on the list; its owner is {ATTESTER.address}")
    assert office.does(ATTESTER, "issue", HOLDER.address, listed)["eligible"]
    assert office.buys(HOLDER, office.listed).exit_code == 0
    assert not office.does(ATTESTER, "revoke", HOLDER.address, listed)["eligible"]
    assert "ComputeCredits_NotEligible" in office.buys(HOLDER, office.listed).stderr
    (one,) = office.does(ATTESTER, "list", listed)["accounts"]
    assert (one["account"], one["eligible"]) == (HOLDER.address, False)


def test_issue__by_others_or_where_nobody_can__says_why(office: Office) -> None:
    other = office.system.create_class()
    strange = office.system.create_class(eligibility=office.eas)
    assert "only the attester" in office.refused(STRANGER, "issue", HOLDER.address, str(office.attested))
    assert "only the owner" in office.refused(STRANGER, "revoke", HOLDER.address, str(office.listed))
    assert "anyone may hold it" in office.refused(ATTESTER, "issue", HOLDER.address, str(other))
    assert "is neither" in office.refused(ATTESTER, "issue", HOLDER.address, str(strange))
    assert "knows no end" in office.refused(
        ATTESTER, "issue", HOLDER.address, str(office.listed), "--days", "3"
    )
    assert office.check(HOLDER, other) == (True, "the class is open to anyone")


def k256(name: str) -> Any:
    return ec.derive_private_key(int.from_bytes(bytes(account(name).key)), ec.SECP256K1())


ISSUERS = {
    "EdDSA did:key": lambda: Issuer(),
    "ES256K did:key": lambda: Issuer(k256("issuer")),
    "ES256K did:pkh": lambda: Issuer(k256("issuer"), pkh(account("issuer").address)),
}


@pytest.mark.parametrize("kind", ISSUERS)
def test_credential__accepted_then_taken_back__eligibility_comes_and_goes(office: Office, kind: str) -> None:
    issuer = ISSUERS[kind]()
    subject = did_key(k256("holder")) if kind == "ES256K did:key" else pkh(HOLDER.address)
    until = office.now + 90 * 86_400
    token = issuer.credential(subject, exp=until)
    found = office.does(ATTESTER, *office.accept(token, issuer))
    assert (found["account"], found["eligible"], found["until"]) == (HOLDER.address, True, str(until))
    assert office.buys(HOLDER).exit_code == 0
    recheck = "recheck", str(office.attested)
    (kept,) = office.does(ATTESTER, *recheck, *office.trusts(issuer))["credentials"]
    assert kept["outcome"] == "holds"
    issuer.revoked.add(7)
    (kept,) = office.does(ATTESTER, *recheck, *office.trusts(issuer))["credentials"]
    assert (kept["outcome"], "revocation bit" in kept["why"]) == ("revoked", True)
    assert "ComputeCredits_NotEligible" in office.buys(HOLDER).stderr
    assert office.does(ATTESTER, *recheck, *office.trusts(issuer))["credentials"] == []
    assert "fails status" in office.refused(ATTESTER, *office.accept(token, issuer))


def test_credential__status_list_cannot_be_had__nothing_is_revoked(office: Office) -> None:
    issuer = Issuer()
    elsewhere = {"credentialStatus": issuer.status(7, statusListCredential="http://127.0.0.1:1/list")}
    token = issuer.credential(pkh(HOLDER.address), vc=elsewhere)
    assert "can't be had" in office.refused(ATTESTER, *office.accept(token, issuer))
    office.does(ATTESTER, *office.accept(issuer.credential(pkh(HOLDER.address)), issuer))
    stale = office.trusts(issuer, exp=office.now - 5)
    result = office.run(ATTESTER, "eligibility", "recheck", str(office.attested), *stale)
    assert (result.exit_code, json.loads(result.stdout)["credentials"][0]["outcome"]) == (1, "unknown")
    assert office.check(HOLDER)[0]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1_000}, "expiry"),
    "not valid yet": ({"nbf": 1 << 36}, "validFrom"),
    "never ends": ({"vc": {"credentialStatus": []}}, "expiry"),
    "another type": ({"vc": {"type": ["VerifiableCredential", "DriversLicence"]}}, "type"),
    "two subjects": ({"sub": pkh(STRANGER.address)}, "format"),
    "no subject": ({"vc": {"credentialSubject": "x"}}, "format"),
    "odd time": ({"exp": -5}, "format"),
    "unknown status": ({"vc": {"credentialStatus": {"type": "RevocationList2020Status"}}}, "status"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_credential__does_not_count__refused_by_check_and_nothing_is_sent(office: Office, name: str) -> None:
    claims, expected = REFUSED[name]
    issuer = Issuer()
    (office.folder / "c.jwt").write_text(issuer.credential(pkh(HOLDER.address), **claims))
    office.proof.write_text(
        json.dumps({"account": HOLDER.address, "deadline": "1", "signature": "0x" + "11" * 65})
    )
    presented = "accept-credential", str(office.folder / "c.jwt"), str(office.attested)
    said = office.refused(ATTESTER, *presented, "--proof", str(office.proof), *office.trusts(issuer))
    assert f"fails {expected}:" in said
    assert office.system.w3.eth.get_transaction_count(ATTESTER.address) == 0
    assert not office.check(HOLDER)[0]


def test_credential__forged_borrowed_or_presented_elsewhere__refused(office: Office) -> None:
    issuer, other = Issuer(), Issuer()
    good = issuer.credential(pkh(HOLDER.address))
    head, payload, _ = good.split(".")
    theirs = other.sign(jwt.decode(good, options={"verify_signature": False}))

    def refused(token: str, by: Issuer = issuer, listed_by: Issuer | None = None, **changes: Any) -> str:
        (office.folder / "c.jwt").write_text(token)
        presented = "accept-credential", str(office.folder / "c.jwt"), str(office.attested)
        trusted = office.trusts(by, **changes)
        if listed_by is not None:
            (office.folder / "list.jwt").write_text(listed_by.status_list())
        return office.refused(ATTESTER, *presented, "--proof", str(office.proof), *trusted)

    office.does(ATTESTER, "issue", STRANGER.address, str(office.attested))
    office.accept(good, issuer)
    assert "fails signature" in refused(f"{head}.{payload}.{theirs.split('.')[2]}")
    unsigned = jwt.encode(jwt.decode(good, options={"verify_signature": False}), None, algorithm="none")
    assert "fails signature" in refused(unsigned)
    assert "fails issuer" in refused(good, other)
    assert "fails subject" in refused(issuer.credential(pkh(HOLDER.address, 1)))
    assert "fails subject" in refused(issuer.credential(did_key(ed25519.Ed25519PrivateKey.generate())))
    # A proof of another credential, by somebody else, and one that is too old.
    assert "fails proof" in refused(issuer.credential(pkh(HOLDER.address), jti="another"))
    office.accept(good, issuer, proved_by=STRANGER)
    assert "fails proof" in refused(good)
    office.accept(good, issuer)
    # The proof's hour counts from this machine's clock, which may be ahead of the chain's.
    office.system.anvil.advance(7_200)
    assert "fails proof" in refused(good)
    office.accept(good, issuer)
    assert "another issuer" in refused(good, listed_by=other)
    suspending = {
        "id": f"{LIST_URL}#list", "type": "BitstringStatusList", "statusPurpose": "suspension",
        "encodedList": "u",
    }  # fmt: skip
    assert "another purpose" in refused(good, credentialSubject=suspending)
    assert "another list" in refused(good, credentialSubject=suspending | {"type": "StatusList2021"})
    assert not office.check(HOLDER)[0]


def test_eas__unknown_attestation__is_none(office: Office) -> None:
    view = chain_of(office).at()
    assert eas.attestation(view, office.eas, b"\x01" * 32) is None
    assert eas.attestation(view, office.eas, ZERO_BYTES32) is None
