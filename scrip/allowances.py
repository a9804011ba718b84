"""Approvals: letting a contract take what a call is going to need, and no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.sender import Sender


def ensure(chain: Chain, sender: Sender, token: str, contract: str, amount: int) -> None:
    """Let contract `contract` of the deployment take `amount` base units of an ERC-20, unless it may already.

    Raises as `Sender.send`.
    """
    spender = chain.address(contract)
    if chain.at().token_allowance(token, sender.address, spender) < amount:
        call = chain.erc20(token).functions.approve(spender, amount)
        sender.send(call, label=f"approve {amount} of {token}")


def ensure_operator(chain: Chain, sender: Sender, contract: str) -> None:
    """Let contract `contract` of the deployment move the sender's credits, unless it may already.

    Raises as `Sender.send`.
    """
    operator = chain.address(contract)
    if not chain.at().read("ComputeCredits", "isApprovedForAll", sender.address, operator):
        call = chain.contract("ComputeCredits").functions.setApprovalForAll(operator, True)
        sender.send(call, label=f"approve {contract}")
