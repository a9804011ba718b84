"""Buying credits from the reserve: one transaction, paid by an ERC-2612 permit where the token has it."""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.logs import DISCARD
from web3.types import TxReceipt

from scrip import allowances
from scrip.chain import Chain
from scrip.eip712 import Wallet, digest, sign
from scrip.errors import BadInput, ChainError, Refused
from scrip.sender import Call, Sender
from scrip.types import Funding

PERMIT_TYPE = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
PERMIT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Purchase:
    """What was bought. `units` are base units, `cost` payment-token base units."""

    class_id: int
    units: int
    cost: int
    tx_hash: bytes


def buy(
    chain: Chain, sender: Sender, wallet: Wallet, class_id: int, units: int, *, max_cost: int | None = None
) -> Purchase:
    """Buy `units` base units of a class for the wallet.

    `max_cost` (payment-token base units) is by default today's price. Raises NotFound for an unknown class,
    Refused if it isn't for sale or costs more, BadInput if the wallet can't pay, and as `Sender.send`.
    """
    view = chain.at()
    info = view.class_info(class_id)
    if info.terms.funding is not Funding.SALE or info.wound_down:
        raise Refused(
            f"class {info.label} is not for sale: {info.terms.funding.name.lower()}, closed={info.closed}"
        )
    cost = view.cost(class_id, units)
    if max_cost is not None and cost > max_cost:
        raise Refused(f"{units} units of class {class_id} cost {cost}, the limit is {max_cost}")
    token = info.terms.payment_token
    held = view.token_balance(token, wallet.address)
    if held < cost:
        raise BadInput("payment", f"{held} base units of {token}", f"at least {cost} to buy {units} units")
    reserve = chain.contract("CreditReserve").functions
    permit = _permit(chain, wallet, token, cost, view.time() + PERMIT_SECONDS)
    if permit is None:
        allowances.ensure(chain, sender, token, "CreditReserve", cost)
        call = reserve.buy(class_id, units, wallet.address, cost)
    else:
        call = reserve.buyWithPermit(class_id, units, wallet.address, cost, *permit)
    receipt = sender.send(call, label=f"buy {units} of class {class_id}")
    return Purchase(class_id, units, _paid(chain, receipt), bytes(receipt["transactionHash"]))


def _permit(
    chain: Chain, wallet: Wallet, token: str, value: int, deadline: int
) -> tuple[int, int, bytes, bytes] | None:
    """Deadline, v, r and s of a permit for the reserve; None if the token has no ERC-2612."""
    try:
        domain = _view(chain, token, "DOMAIN_SEPARATOR()")
        nonce = int.from_bytes(_view(chain, token, "nonces(address)", wallet.address), "big")
    except ChainError:
        return None
    spender = chain.address("CreditReserve")
    fields = encode(
        ["bytes32", "address", "address", "uint256", "uint256", "uint256"],
        [keccak(text=PERMIT_TYPE), wallet.address, spender, value, nonce, deadline],
    )
    signature = sign(digest(domain, keccak(fields)), wallet)
    return deadline, signature[64], signature[:32], signature[32:64]


def _view(chain: Chain, token: str, signature: str, *addresses: str) -> bytes:
    data = keccak(text=signature)[:4] + encode(["address"] * len(addresses), addresses)
    answer = chain.call(Call(token, data).params(token))
    if len(answer) != 32:
        raise ChainError(f"{signature} of {token} answers {len(answer)} bytes")
    return answer


def _paid(chain: Chain, receipt: TxReceipt) -> int:
    """The cost a purchase's own event states."""
    event = chain.contract("CreditReserve").events.Bought()
    for found in event.process_receipt(receipt, errors=DISCARD):
        if found["address"] == chain.address("CreditReserve"):
            return int(found["args"]["cost"])
    raise ChainError("the purchase was mined without a Bought event")
