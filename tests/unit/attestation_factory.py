"""GPU reports made HERE, by keys of this test and a root that isn't NVIDIA's, for nonces of our own.

The one genuine report is in `test_attestation_genuine.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from scrip.attestation import GpuReport
from tests.unit.evidence_factory import NOW

FIRMWARE = b"\xf1" * 48
_DICE = x509.ObjectIdentifier("2.23.133.5.4.1")
_ROLES = ("leaf", "device", "issuer", "root")


@dataclass
class MadeUpGpu:
    """A GPU of this test. Fields set anything about its chain that a test wants wrong."""

    curve: Callable[[], ec.EllipticCurve] = ec.SECP384R1
    digest: Callable[[], HashAlgorithm] = SHA384
    not_after: datetime = datetime(9999, 12, 31, tzinfo=UTC)
    leaf_signs: bool = True
    issuers_issue: bool = True
    path_length: int | None = None
    critical: str = ""
    maker: MadeUpGpu | None = None
    """Another one whose issuer and root certify this one too."""
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.maker is not None:
            self.keys = {role: self.maker.keys[role] for role in ("issuer", "root")} | self.keys
        for role in _ROLES:
            curve = ec.SECP384R1() if role == "root" else self.curve()
            self.keys.setdefault(role, ec.generate_private_key(curve))
        self.chain = [self._certificate(place) for place in range(len(_ROLES))]
        if self.maker is not None:
            self.chain[2:] = self.maker.chain[2:]

    @property
    def root(self) -> x509.Certificate:
        return self.chain[-1]

    def pem(self, chain: list[x509.Certificate] | None = None) -> bytes:
        return b"".join(item.public_bytes(Encoding.PEM) for item in chain or self.chain)

    def report(self, nonce: bytes, device: str, *, firmware: bytes = FIRMWARE) -> GpuReport:
        return GpuReport(device, self.sign(exchange(nonce, firmware=firmware)), self.pem())

    def sign(self, signed: bytes) -> bytes:
        r, s = decode_dss_signature(self.keys["leaf"].sign(signed, ec.ECDSA(SHA384())))
        return signed + r.to_bytes(48, "big") + s.to_bytes(48, "big")

    def _certificate(self, place: int) -> x509.Certificate:
        role, issuer = _ROLES[place], _ROLES[min(place + 1, len(_ROLES) - 1)]
        last = self.not_after if role == "device" else datetime(9999, 12, 31, tzinfo=UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(f"Made-up {role}"))
            .issuer_name(_name(f"Made-up {issuer}"))
            .public_key(self.keys[role].public_key())
            .serial_number(place + 1)
            .not_valid_before(datetime.fromtimestamp(NOW - 86_400, UTC))
            .not_valid_after(last)
            .add_extension(self._usage(leaf=place == 0), critical=True)
        )
        if place == 0:
            dice = b"\x30\x32\x04\x30" + FIRMWARE
            builder = builder.add_extension(x509.UnrecognizedExtension(_DICE, dice), critical=False)
        else:
            length = self.path_length if role == "issuer" else None
            builder = builder.add_extension(x509.BasicConstraints(True, length), critical=True)
        if self.critical and place == 1:
            odd = x509.UnrecognizedExtension(x509.ObjectIdentifier(self.critical), b"\x05\x00")
            builder = builder.add_extension(odd, critical=True)
        return builder.sign(self.keys[issuer], self.digest() if role == "leaf" else SHA384())

    def _usage(self, *, leaf: bool) -> x509.KeyUsage:
        names = (
            "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
            " key_cert_sign crl_sign encipher_only decipher_only"
        )
        flags: dict[str, Any] = dict.fromkeys(names.split(), False) | {"crl_sign": True}
        if leaf:
            flags["digital_signature"] = self.leaf_signs
        else:
            flags["key_cert_sign"] = self.issuers_issue
        return x509.KeyUsage(**flags)


def exchange(nonce: bytes, *, firmware: bytes = FIRMWARE, count: int = 3) -> bytes:
    """An unsigned SPDM exchange with `count` measurements."""
    block = b"\x01\x33\x00\x01\x30\x00"
    record = b"".join(bytes((index,)) + block + bytes((index,)) * 48 for index in range(1, count + 1))
    opaque = b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for kind, value in ((3, b"570.10\0"), (20, firmware))
        if value
    )
    response = b"\x11\x60\x00\x00" + bytes((count,)) + len(record).to_bytes(3, "little") + record
    response += b"\x22" * 32 + len(opaque).to_bytes(2, "little") + opaque
    return b"\x11\xe0\x01\xff" + nonce + b"\x00" + response


def weaker() -> HashAlgorithm:
    """A digest that NVIDIA doesn't use."""
    return SHA256()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
