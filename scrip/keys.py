"""Keys: encrypted keystores (Web3 Secret Storage v3), opened with a password from a file or a named variable.

Nothing here logs, and no error holds a key or a password. The accounts of Anvil's and Hardhat's published
mnemonic are refused off local chains, because everybody has their keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from scrip.errors import KeyProblem

LOCAL_CHAINS = frozenset({31337, 1337})
"""Chain ids of development chains (Anvil and Hardhat, Geth --dev and Ganache)."""

DEV_ADDRESSES = frozenset(
    {
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
        "0xBcd4042DE499D14e55001CcbB24a551F3b954096",
        "0x71bE63f3384f5fb98995898A86B02Fb2426c5788",
        "0xFABB0ac9d68B0B445fB7357272Ff202C5651694a",
        "0x1CBd3b2770909D4e10f157cABC84C7264073C9Ec",
        "0xdF3e18d64BC6A983f673Ab319CCaE4f1a57C7097",
        "0xcd3B766CCDd6AE721141F452C550Ca635964ce71",
        "0x2546BcD3c84621e976D8185a91A922aE77ECEc30",
        "0xbDA5747bFD65F08deb54cb465eB87D40e51B197E",
        "0xdD2FD4581271e230360230F9337D5c0430Bf44C0",
        "0x8626f6940E2eb28930eFb4CeF49B2d1F2C9C1199",
    }
)
"""Accounts 0 to 19 of the mnemonic "test test test test test test test test test test test junk"."""

SCRYPT_WORK = 1 << 18
"""scrypt's N for keystores, the one Geth uses: about a second and 256 MB."""
SCRYPT_WORK_LIGHT = 1 << 12
"""For keys that guard nothing, such as those of tests and demonstrations."""


def load(
    keystore: Path | str,
    *,
    chain_id: int,
    password_file: Path | str | None = None,
    password_env: str | None = None,
    local_chains: Collection[int] = LOCAL_CHAINS,
) -> LocalAccount:
    """Decrypt the keystore for use on chain `chain_id`. Give exactly one source of the password.

    Raises KeyProblem if the file or the password is missing or wrong, or if it is a well-known development
    key and `chain_id` isn't in `local_chains`.
    """
    data = _read_keystore(Path(keystore))
    password = read_password(password_file=password_file, password_env=password_env)
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(data, password))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        # The cause is dropped on purpose: its text may hold parts of the input.
        raise KeyProblem(f"{keystore}: wrong password, or not a version 3 keystore") from None
    check_allowed(account.address, chain_id, local_chains)
    return account


def check_allowed(address: str, chain_id: int, local_chains: Collection[int] = LOCAL_CHAINS) -> None:
    """Raise KeyProblem if `address` is a well-known development account and `chain_id` isn't local."""
    if address in DEV_ADDRESSES and chain_id not in local_chains:
        raise KeyProblem(
            f"{address} is a well-known development account, refused on chain {chain_id} "
            f"(local chains: {sorted(local_chains)}). Create a key of your own"
        )


def read_password(*, password_file: Path | str | None = None, password_env: str | None = None) -> str:
    """The password from a file (one trailing line end is dropped) or from a named environment variable."""
    if (password_file is None) == (password_env is None):
        raise KeyProblem(
            "give the password by a file or by an environment variable's name: exactly one of them"
        )
    if password_file is not None:
        try:
            password = Path(password_file).read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(f"password file {password_file}: {type(error).__name__}") from None
    else:
        password = os.environ.get(str(password_env), "")
    if not password:
        where = f"file {password_file}" if password_file is not None else f"variable {password_env}"
        raise KeyProblem(f"the password in {where} is empty or missing")
    return password


def create(keystore: Path | str, password: str, *, work: int = SCRYPT_WORK) -> str:
    """Make a new key, store it encrypted at `keystore` and return its address. Never overwrites."""
    return _store(Account.create(), Path(keystore), password, work)


def import_key(
    keystore: Path | str, private_key: str | bytes, password: str, *, work: int = SCRYPT_WORK
) -> str:
    """Store an existing 32-byte private key at `keystore` and return its address. Never overwrites."""
    try:
        account = Account.from_key(private_key)
    except (ValueError, TypeError, AttributeError):
        raise KeyProblem("not a private key: must be 32 bytes, in hex or raw") from None
    return _store(account, Path(keystore), password, work)


def address_of(keystore: Path | str) -> str:
    """Address a keystore says it is for, read without the password. "" if it doesn't say."""
    stated = str(_read_keystore(Path(keystore)).get("address", "")).removeprefix("0x")
    return "0x" + stated if stated else ""


def _store(account: LocalAccount, keystore: Path, password: str, work: int) -> str:
    if not password:
        raise KeyProblem("the password is empty")
    text = json.dumps(Account.encrypt(account.key, password, kdf="scrypt", iterations=work))
    try:
        keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # O_EXCL: an existing key is never overwritten, not even in a race.
        with os.fdopen(os.open(keystore, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise KeyProblem(f"{keystore} exists already; keys are never overwritten") from None
    return str(account.address)


def _read_keystore(keystore: Path) -> dict[str, Any]:
    try:
        data = json.loads(keystore.read_text("utf-8"))
    except OSError as error:
        raise KeyProblem(f"keystore {keystore}: {type(error).__name__}") from None
    except ValueError:
        raise KeyProblem(f"keystore {keystore} is not JSON") from None
    if not isinstance(data, dict):
        raise KeyProblem(f"keystore {keystore} is not a JSON object")
    return data
