"""A GPU's certificate chain: from the key that signed a report up to NVIDIA's device root.

Trust: the pinned root, and that NVIDIA certifies only keys that its GPUs keep to themselves. Revocation isn't
asked for: that would need NVIDIA's OCSP server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scrip.errors import EvidenceInvalid, ScripError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate

ROOT_FILE: Final = Path(__file__).with_name("nvidia_device_root.pem")
ROOT_SHA256: Final = "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
"""SHA-256 of the root certificate (DER), "NVIDIA Device Identity CA" of 2021-11-05: the one that NVIDIA ships
in nv-local-gpu-verifier."""

MOST: Final = 8
_USABLE_EXTENSIONS: Final = frozenset({"2.5.29.15", "2.5.29.19"})  # key usage, basic constraints
_FIRMWARE_OIDS: Final = frozenset({"2.23.133.5.4.1", "2.23.133.5.4.1.1"})  # TCG DICE TcbInfo, MultiTcbInfo


class AttestationUnavailable(ScripError):
    """Reports can't be checked with what is installed."""

    def __init__(self, cause: ImportError) -> None:
        super().__init__(
            f"a GPU's report can't be checked: {cause}. Install it: pip install 'scrip[attestation]'"
        )


@dataclass(frozen=True, slots=True)
class Device:
    """What a valid chain says. `identity` is the GPU's own key (DER), `firmware` the value of the leaf's DICE
    extension ("" if it has none), `label` the leaf's common name.
    """

    key: EllipticCurvePublicKey
    identity: bytes
    firmware: bytes
    label: str


@cache
def nvidia_root() -> Certificate:
    """The pinned root. Raises EvidenceInvalid("attestation.root") if the file isn't the one stated here."""
    [root] = load(ROOT_FILE.read_bytes())
    if fingerprint(root) != ROOT_SHA256:
        raise EvidenceInvalid("attestation.root", f"{ROOT_FILE.name} has SHA-256 {fingerprint(root)}")
    return root


def load(pem: bytes) -> list[Certificate]:
    """The certificates of a PEM text, in order. Raises EvidenceInvalid, AttestationUnavailable."""
    try:
        from cryptography.x509 import load_pem_x509_certificates
    except ImportError as missing:
        raise AttestationUnavailable(missing) from missing
    with _hostile():
        return load_pem_x509_certificates(pem)


@contextmanager
def _hostile() -> Iterator[None]:
    """Whatever reading a hostile certificate raises is a refusal. `cryptography` parses late and raises what
    it likes (ValueError, TypeError, InvalidVersion, ...), so no list of it would be complete.
    """
    try:
        yield
    except ScripError:
        raise
    except Exception as error:
        raise EvidenceInvalid("attestation.chain", f"malformed certificate: {error!s:.100}") from error


def fingerprint(certificate: Certificate) -> str:
    """SHA-256 of its DER, in hex."""
    from cryptography.hazmat.primitives.hashes import SHA256

    return certificate.fingerprint(SHA256()).hex()


def verify_chain(pem: bytes, *, root: Certificate, now: int) -> Device:
    """Check a chain, leaf first, that ends in `root`, at unix seconds `now`.

    Each link: issuer's name and signature, P-384 with SHA-384, validity, key usage, path length, no critical
    extension that is unknown here. Raises EvidenceInvalid("attestation.root", "attestation.chain",
    "attestation.validity" or "attestation.usage").
    """
    chain = load(pem)
    # leaf, the device's identity, then any number of issuers
    _require(3 <= len(chain) <= MOST, "attestation.chain", f"{len(chain)} certificates, must be 3 to {MOST}")
    last = fingerprint(chain[-1])
    detail = f"the chain ends in {last}, the root is {fingerprint(root)}"
    _require(last == fingerprint(root), "attestation.root", detail)
    moment = datetime.fromtimestamp(now, UTC)
    with _hostile():
        for depth, certificate in enumerate(chain):
            _check_one(certificate, depth, moment)
        for certificate, issuer in pairwise(chain):
            _check_link(certificate, issuer)
        return _device(chain)


def _check_one(certificate: Certificate, depth: int, moment: datetime) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, KeyUsage

    name = _name(certificate)
    valid = certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc
    _require(valid, "attestation.validity", f"{name} isn't valid at {moment:%Y-%m-%d %H:%M:%S} UTC")
    key = certificate.public_key()
    strong = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)
    _require(strong, "attestation.chain", f"the key of {name} isn't on P-384")
    unknown = {
        item.oid.dotted_string for item in certificate.extensions if item.critical
    } - _USABLE_EXTENSIONS
    _require(not unknown, "attestation.usage", f"{name} has unknown critical extensions {sorted(unknown)}")
    try:
        usage = certificate.extensions.get_extension_for_class(KeyUsage).value
    except ExtensionNotFound:
        raise EvidenceInvalid("attestation.usage", f"{name} doesn't say what its key is for") from None
    try:
        basic = certificate.extensions.get_extension_for_class(BasicConstraints).value
    except ExtensionNotFound:
        basic = BasicConstraints(ca=False, path_length=None)
    if depth == 0:
        fit = usage.digital_signature and not usage.key_cert_sign and not basic.ca
        _require(fit, "attestation.usage", f"the key of {name} isn't one for signing reports")
        return
    _require(usage.key_cert_sign and basic.ca, "attestation.usage", f"{name} may not issue certificates")
    below = depth - 1
    within = basic.path_length is None or below <= basic.path_length
    _require(within, "attestation.usage", f"{name} allows {basic.path_length} issuers below it, not {below}")


def _check_link(certificate: Certificate, issuer: Certificate) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.hashes import SHA384
    from cryptography.hazmat.primitives.serialization import Encoding

    link = f"{_name(certificate)} by {_name(issuer)}"
    hashed = isinstance(certificate.signature_hash_algorithm, SHA384)
    _require(hashed, "attestation.chain", f"{link}: not signed over SHA-384")
    # DER has one form for a bit string of whole bytes; the parser takes others, outside what is signed.
    whole = certificate.public_bytes(Encoding.DER).endswith(b"\0" + certificate.signature)
    _require(whole, "attestation.chain", f"{link}: its signature isn't written in DER")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise EvidenceInvalid("attestation.chain", f"{link}: not issued by it") from error


def _device(chain: Sequence[Certificate]) -> Device:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    leaf, identity = chain[0], chain[1]
    key = leaf.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise TypeError("checked before")
    found = (item for item in leaf.extensions if item.oid.dotted_string in _FIRMWARE_OIDS)
    firmware = next((bytes(item.value.public_bytes()) for item in found), b"")
    der = identity.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Device(key, der, firmware, _name(leaf))


def _name(certificate: Certificate) -> str:
    from cryptography.x509.oid import NameOID

    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(found[0].value) if found else "a certificate without a name"
    return text.encode("ascii", errors="replace").decode("ascii")[:64]


def _require(ok: object, check: str, detail: str) -> None:
    if not ok:
        raise EvidenceInvalid(check, detail)
