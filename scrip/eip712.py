"""EIP-712 hashing and signing of what the contracts verify: jobs, acceptances, receipts and batches.

Encoded by hand from the EIP (https://eips.ethereum.org/EIPS/eip-712): `digest = keccak(0x1901 ||
domainSeparator || hashStruct(message))`. Tests prove each equal to eth_account's and to the contract's.
What else is signed is in `eip712_sessions`, `eip712_budgets`, `eip712_credits` and `eip712_watchers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from eth_account.datastructures import SignedMessage
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from scrip import curve, words
from scrip.errors import BadInput, BadSignature
from scrip.hashing import keccak
from scrip.structs import to_bytes, to_int
from scrip.types import JobTerms, Receipt

DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
JOB_TERMS_TYPE = (
    "JobTerms(address payer,address provider,uint256 classId,uint128 maxUnits,uint32 resources,"
    "uint40 acceptBy,uint40 submitBy,bytes32 specHash,uint256 budgetId,uint256 salt)"
)
ACCEPTANCE_TYPE = "Acceptance(bytes32 jobId)"
CANCEL_TYPE = "Cancel(bytes32 jobId,uint256 deadline)"
RECEIPT_TYPE = (
    "Receipt(bytes32 jobId,uint8 outcome,uint128 units,uint64 gpuMillijoules,uint64 inputTokens,"
    "uint64 outputTokens,uint40 startedAt,uint40 endedAt,bytes32 outputHash,bytes32 evidenceRoot,"
    "uint8 assurance)"
)
BATCH_TYPE = "ReceiptBatch(bytes32[] receipts)"

MARKET_DOMAIN = "Scrip JobMarket"
VERIFIER_DOMAIN = "Scrip ReceiptVerifier"
VERSION = "1"

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


class DigestSigner(Protocol):
    """What `sign` needs of an account; eth_account's LocalAccount has it, a remote signer can."""

    def unsafe_sign_hash(self, message_hash: Any) -> SignedMessage:
        """Sign a 32-byte digest without any prefix."""
        ...


class Wallet(DigestSigner, Protocol):
    """An account that signs digests and has an address."""

    @property
    def address(self) -> Any:
        """Checksum address."""
        ...


@lru_cache(maxsize=64)
def domain_separator(name: str, chain_id: int, contract: str, version: str = VERSION) -> bytes:
    """hashStruct of the EIP-712 domain of `contract`."""
    return hash_struct(
        DOMAIN_TYPE,
        ["bytes32", "bytes32", "uint256", "address"],
        [keccak(name.encode()), keccak(version.encode()), chain_id, contract],
    )


def digest(domain: bytes, struct_hash: bytes) -> bytes:
    """The 32 bytes that get signed."""
    return keccak(b"\x19\x01" + domain + struct_hash)


def hash_struct(type_string: str, types: Sequence[str], values: Sequence[object]) -> bytes:
    """hashStruct of a struct of fixed-size fields; `types` are what its encoding takes, in order."""
    return keccak(_type_hash(type_string) + words.encode(tuple(types), values))


@lru_cache(maxsize=64)
def _type_hash(type_string: str) -> bytes:
    return keccak(type_string.encode())


def terms_struct_hash(terms: JobTerms) -> bytes:
    """hashStruct(JobTerms)."""
    return hash_struct(JOB_TERMS_TYPE, terms.abi_types(), terms.to_abi())


def job_id(terms: JobTerms, chain_id: int, market: str) -> bytes:
    """Id of the job these terms describe at this JobMarket: the digest its payer signs for `openBySig`."""
    return digest(domain_separator(MARKET_DOMAIN, chain_id, market), terms_struct_hash(terms))


def acceptance_digest(job: bytes, chain_id: int, market: str) -> bytes:
    """What a provider's oracle key signs to quote (accept in advance) the job with this id."""
    struct = hash_struct(ACCEPTANCE_TYPE, ["bytes32"], [to_bytes("job_id", job, 32)])
    return digest(domain_separator(MARKET_DOMAIN, chain_id, market), struct)


def cancel_digest(job: bytes, deadline: int, chain_id: int, market: str) -> bytes:
    """What a payer, or its budget's spender, signs for `cancelBySig`. `deadline` is unix seconds."""
    values = [to_bytes("job_id", job, 32), to_int("deadline", deadline)]
    struct = hash_struct(CANCEL_TYPE, ["bytes32", "uint256"], values)
    return digest(domain_separator(MARKET_DOMAIN, chain_id, market), struct)


def receipt_struct_hash(receipt: Receipt) -> bytes:
    """hashStruct(Receipt): one entry of a batch."""
    return hash_struct(RECEIPT_TYPE, receipt.abi_types(), receipt.to_abi())


def receipt_digest(receipt: Receipt, chain_id: int, verifier: str) -> bytes:
    """What the provider's oracle key and the watchers sign for a single receipt."""
    return digest(domain_separator(VERIFIER_DOMAIN, chain_id, verifier), receipt_struct_hash(receipt))


def batch_digest(struct_hashes: Sequence[bytes], chain_id: int, verifier: str) -> bytes:
    """What they sign for a batch; `struct_hashes` as of `receipt_struct_hash`, in the batch's order.

    Raises BadInput for an empty batch.
    """
    if not struct_hashes:
        raise BadInput("receipts", "an empty list", "at least one receipt")
    # EIP-712 encodes an array as the hash of its elements' encodings put together.
    joined = b"".join(to_bytes("receipts", item, 32) for item in struct_hashes)
    struct = hash_struct(BATCH_TYPE, ["bytes32"], [keccak(joined)])
    return digest(domain_separator(VERIFIER_DOMAIN, chain_id, verifier), struct)


def sign(message: bytes, account: DigestSigner) -> bytes:
    """Signature of a 32-byte digest as the contracts take it: r, s, v (27 or 28), 65 bytes."""
    message = to_bytes("digest", message, 32)
    if not isinstance(account, LocalAccount):
        return bytes(account.unsafe_sign_hash(message).signature)
    # The same signature. eth_account makes the key anew each time, which takes six times as long as signing.
    signed = curve.sign(bytes(account.key), message)
    return signed[:64] + bytes((signed[64] + 27,))


def recover(message: bytes, signature: bytes) -> str:
    """Checksum address that signed the 32-byte digest. Raises BadSignature, as `recover_key`."""
    return address_of(recover_key(to_bytes("digest", message, 32), signature))


def recover_key(message: bytes, signature: bytes) -> bytes:
    """Public key that signed the 32-byte digest: 65 bytes, uncompressed.

    Accepts exactly what the contracts accept: 65 bytes, v of 27 or 28, s in the lower half of the order (no
    malleability). Raises BadSignature for anything else.
    """
    if len(signature) != 65:
        raise BadSignature("signature", f"{len(signature)} bytes", "65 bytes: r, s, v")
    if signature[64] not in (27, 28):
        raise BadSignature("signature.v", signature[64], "27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise BadSignature("signature.s", signature[32:64], "in the lower half of the curve's order")
    try:
        return curve.recover(message, signature[:64] + bytes((signature[64] - 27,)))
    except ValueError as error:
        raise BadSignature("signature", signature, "one that recovers to a public key") from error


def address_of(public_key: bytes) -> str:
    """Checksum address of an uncompressed public key."""
    return str(to_checksum_address(keccak(public_key[1:])[12:]))
