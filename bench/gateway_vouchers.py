"""Checks of payment signatures a second, on one core: our vouchers, and the x402 SDK's EIP-3009 beside them.

    python -m bench.gateway_vouchers

Both in one process and in turns, so that both see the same machine. What is compared is the signature alone:

- `voucher_checks_per_s`: `scrip.vouchers.VoucherChecker.check`, as the gateway calls it for every call: two
  hashes, one recovery, the comparison with the session's key. Each voucher is another one.
- `x402_verify_per_s`: `classify_eip3009_signature` of x402[evm] 2.25, which its `exact` facilitator calls for
  every payment: the typed-data hash, one recovery, the comparison with the payer. Its one read of the chain
  (the payer's code) is answered at once; what the facilitator reads besides (balance, nonce, a simulation)
  is left out, in its favour. Each authorisation is another one.
- `recoveries_per_s`: the recovery alone (coincurve), the limit of both.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from coincurve import PublicKey
from eth_account import Account
from x402.mechanisms.evm.eip712 import hash_eip3009_authorization
from x402.mechanisms.evm.exact.eip3009_utils import classify_eip3009_signature
from x402.mechanisms.evm.types import ExactEIP3009Authorization

from bench import results
from scrip.eip712 import sign
from scrip.eip712_sessions import voucher_digest
from scrip.vouchers import VoucherChecker, sign_voucher

COUNT: Final = 1_500
ROUNDS: Final = 15
LEAST: Final = 15_000
CHAIN_ID: Final = 31337
CONTRACT: Final = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TOKEN: Final = (CHAIN_ID, CONTRACT, "Demo USD", "1")
SESSION: Final = b"\x05" * 32

Work = Callable[[], None]


class NoCode:
    """A facilitator's signer for which every payer is a plain account."""

    def get_code(self, address: str) -> bytes:
        """None."""
        return b""


def voucher_checks() -> Work:
    """Check `COUNT` vouchers of one session."""
    key = Account.create()
    made = [sign_voucher(SESSION, units, key, CHAIN_ID, CONTRACT) for units in range(1, COUNT + 1)]
    checker = VoucherChecker(SESSION, key.address, CHAIN_ID, CONTRACT)

    def work() -> None:
        for voucher in made:
            checker.check(voucher.units, voucher.signature)

    return work


def x402_verifications() -> Work:
    """Verify `COUNT` EIP-3009 authorisations of one payer."""
    payer = Account.create()
    made = []
    for number in range(COUNT):
        authorization = ExactEIP3009Authorization(
            from_address=payer.address, to=CONTRACT, value=str(number), valid_after="0",
            valid_before="9999999999", nonce="0x" + number.to_bytes(32).hex(),
        )  # fmt: skip
        made.append((authorization, sign(hash_eip3009_authorization(authorization, *TOKEN), payer)))
    signer: Any = NoCode()

    def work() -> None:
        for authorization, signature in made:
            if not classify_eip3009_signature(signer, authorization, signature, *TOKEN).valid:
                raise AssertionError("the SDK refuses a good signature")

    return work


def recoveries() -> Work:
    """Recover `COUNT` public keys, and nothing else."""
    key = Account.create()
    made = []
    for units in range(COUNT):
        digest = voucher_digest(SESSION, units, CHAIN_ID, CONTRACT)
        signature = sign(digest, key)
        made.append((signature[:64] + bytes((signature[64] - 27,)), digest))

    def work() -> None:
        for signature, digest in made:
            PublicKey.from_signature_and_message(signature, digest, hasher=None)

    return work


def measure() -> dict[str, int]:
    """Each figure's median over the rounds, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    kinds = {
        "voucher_checks_per_s": voucher_checks(),
        "x402_verify_per_s": x402_verifications(),
        "recoveries_per_s": recoveries(),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, work in kinds.items():
            begun = time.process_time()
            work()
            found[name].append(COUNT / (time.process_time() - begun))
    return {name: int(statistics.median(rates)) for name, rates in found.items()}


def main() -> int:
    """Measure, print and write. Returns the exit status: 1 below `LEAST`."""
    figures = measure()
    for name, figure in figures.items():
        print(f"{name:22} {figure:>8,}")
    results.merge("gateway.json", figures)
    return 0 if figures["voucher_checks_per_s"] >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
