"""W3C verifiable credentials as JWTs: who says it, about whom, until when, and whether it was taken back.

VC-JWT of data model 1.1 (claims with a `vc` member) and 2.0 (the credential itself); the signature is
checked by PyJWT. https://www.w3.org/TR/vc-jose-cose/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jwt

from scrip.eip712 import digest, domain_separator, hash_struct, recover
from scrip.errors import BadInput, ScripError
from scrip.hashing import keccak
from scrip.identity import dids
from scrip.structs import to_int

TYPE: Final = "ScripEligibilityCredential"
"""The type that a credential must have, unless another one is asked for."""
MAX_JWT: Final = 64 * 1024
DOMAIN: Final = "Scrip Eligibility"
PROOF_TYPE: Final = "CredentialPresentation(bytes32 credential,address account,uint256 deadline)"
_NO_TIMES: Final = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                    "verify_sub": False, "verify_jti": False, "verify_iss": False}  # fmt: skip


class CredentialInvalid(ScripError):
    """A credential fails one named check."""

    def __init__(self, check: str, detail: str) -> None:
        self.check, self.detail = check, detail
        super().__init__(f"credential fails {check}: {detail}")


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential whose signature holds. Times are unix seconds, 0 for none; `status` its status entries."""

    token: str
    issuer: str
    subject: str
    types: tuple[str, ...]
    valid_from: int
    expires: int
    status: tuple[Mapping[str, Any], ...]
    body: Mapping[str, Any]

    @property
    def digest(self) -> bytes:
        """What the attestation on chain holds of it."""
        return keccak(self.token.encode("ascii"))


def read(token: str, *, most: int = MAX_JWT) -> Credential:
    """A credential of at most so many characters, its signature checked against the issuer that it names.

    Raises CredentialInvalid.
    """
    token = token.strip()
    if len(token) > most or not token.isascii():
        raise CredentialInvalid("format", f"a JWT has at most {most} ASCII characters")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        issuer = _issuer(claims)
        head, payload, signature = token.split(".")
        key, algorithm = dids.key_of(
            issuer, f"{head}.{payload}".encode(), jwt.utils.base64url_decode(signature)
        )
        claims = jwt.decode(token, key, algorithms=[algorithm], options=_NO_TIMES)  # type: ignore[arg-type]
    except (jwt.PyJWTError, BadInput, ValueError) as error:
        raise CredentialInvalid("signature", str(error)) from None
    try:
        return _credential(token, claims, issuer)
    except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
        raise CredentialInvalid("format", f"{type(error).__name__}: {error!s:.200}") from None


def check(found: Credential, *, issuers: Sequence[str], kind: str, chain_id: int, now: int) -> str:
    """The account that a credential is about, if it counts now. Raises CredentialInvalid.

    It needs an end, or a status that can end it: what was attested by it couldn't be taken back otherwise.
    """
    if found.issuer not in issuers:
        raise CredentialInvalid("issuer", f"{found.issuer} isn't one of those that are trusted")
    if kind not in found.types:
        raise CredentialInvalid("type", f"it is a {', '.join(found.types)}, not a {kind}")
    if found.valid_from > now:
        raise CredentialInvalid("validFrom", f"it holds from {found.valid_from} on, now it is {now}")
    if found.expires and now >= found.expires:
        raise CredentialInvalid("expiry", f"it expired at {found.expires}, now it is {now} (unix seconds)")
    if not found.expires and not found.status:
        raise CredentialInvalid(
            "expiry", "it has neither an end nor a status, so it could never be taken back"
        )
    try:
        return dids.account_of(found.subject, chain_id)
    except BadInput as error:
        raise CredentialInvalid("subject", str(error)) from None


def proof_digest(credential: bytes, account: str, deadline: int, chain_id: int, gate: str) -> bytes:
    """EIP-712 digest that the holder signs for one eligibility contract: nobody else can present it."""
    values = [credential, account, to_int("deadline", deadline)]
    struct = hash_struct(PROOF_TYPE, ["bytes32", "address", "uint256"], values)
    return digest(domain_separator(DOMAIN, chain_id, gate), struct)


def check_proof(
    found: Credential, account: str, deadline: int, signature: bytes, *, chain_id: int, gate: str, now: int
) -> None:
    """Whether the account itself presents the credential here. Raises CredentialInvalid."""
    if now > deadline:
        raise CredentialInvalid("proof", f"it held until {deadline}, now it is {now} (unix seconds)")
    try:
        signer = recover(proof_digest(found.digest, account, deadline, chain_id, gate), signature)
    except BadInput as error:
        raise CredentialInvalid("proof", str(error)) from None
    if signer != account:
        raise CredentialInvalid("proof", f"signed by {signer}, the credential is about {account}")


def _credential(token: str, claims: Mapping[str, Any], issuer: str) -> Credential:
    body = claims.get("vc", claims)
    subject = body["credentialSubject"].get("id")
    stated = claims.get("sub", subject)
    if not isinstance(stated, str) or subject not in (None, stated):
        raise ValueError("`sub` and `credentialSubject.id` must name one subject")
    types = body["type"] if isinstance(body["type"], list) else [body["type"]]
    status = body.get("credentialStatus", [])
    return Credential(
        token, issuer, stated, tuple(map(str, types)),
        _time(claims.get("nbf"), body.get("validFrom", body.get("issuanceDate")), max),
        _time(claims.get("exp"), body.get("validUntil", body.get("expirationDate")), min),
        tuple(status if isinstance(status, list) else [status]), body,
    )  # fmt: skip


def _issuer(claims: Mapping[str, Any]) -> str:
    inner = claims.get("vc", claims).get("issuer")
    inner = inner.get("id") if isinstance(inner, dict) else inner
    stated = claims.get("iss", inner)
    if not isinstance(stated, str) or inner not in (None, stated):
        raise ValueError("`iss` and `issuer` must name one issuer")
    return stated


def _time(seconds: object, text: object, strictest: Any) -> int:
    """Unix seconds of a claim and of a date; where both are given the stricter one; 0 for neither."""
    given = [] if seconds is None else [to_int("time", seconds, 40)]
    if text is not None:
        given.append(int(datetime.fromisoformat(str(text)).timestamp()))
    return int(strictest(given)) if given else 0
