"""What commands that send one transaction share: arguments, sending it, and showing what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.output import facts, hexed

if TYPE_CHECKING:
    from web3.types import TxReceipt

    from scrip.chain import Chain
    from scrip.cli.context import Context
    from scrip.cli.output import Token
    from scrip.sender import Sender

ClassId = Annotated[int, typer.Argument(metavar="CLASS", min=1, help="Id of the class.")]
CreditAmount = Annotated[str, typer.Argument(metavar="AMOUNT", help="Credits, e.g. 1000 or 2.5.")]
TokenAmount = Annotated[str, typer.Argument(metavar="AMOUNT", help="Tokens, e.g. 1000 or 2.5.")]


@dataclass(frozen=True, slots=True)
class Approval:
    """What a call takes of the sender: `amount` base units of `token`, by contract `contract`."""

    contract: str
    token: str
    amount: int


@dataclass(frozen=True, slots=True)
class Act:
    """A function of a contract with its arguments. `label` begins with a word of its own, for the journal."""

    contract: str
    function: str
    arguments: Sequence[object]
    label: str
    approval: Approval | None = None


def send(context: Context, chain: Chain, act: Act) -> TxReceipt:
    """Send it from the keystore's account. Raises as `scrip.cli.sending.sending` and `Sender.send`."""
    from scrip import allowances
    from scrip.cli.rehearsal import rehearse
    from scrip.cli.sending import sending

    call = chain.contract(act.contract).functions[act.function](*act.arguments)

    def both(sender: Sender) -> TxReceipt:
        if (wanted := act.approval) is not None:
            allowances.ensure(chain, sender, wanted.token, wanted.contract, wanted.amount)
        return sender.send(call, label=act.label)

    with sending(context, chain, act.label.split(" ", 1)[0]) as (sender, account):
        if act.approval is not None and not context.dry_run:
            rehearse(chain, account, both)
        return both(sender)


def event(chain: Chain, receipt: TxReceipt, contract: str, name: str) -> Mapping[str, Any]:
    """Arguments of the first event of this name in a transaction. Raises ChainError if there is none."""
    from web3.logs import DISCARD

    from scrip.errors import ChainError

    handle = chain.contract(contract)
    for found in handle.events[name]().process_receipt(receipt, errors=DISCARD):
        if found["address"] == chain.address(contract):
            return dict(found["args"])
    raise ChainError(f"the transaction was mined without an event {name}")


def report(
    context: Context, receipt: TxReceipt, data: Mapping[str, Any], rows: Sequence[tuple[str, str]]
) -> None:
    """Show what a transaction did: `data` for programs, `rows` for people, and its hash for both."""
    sent = hexed(bytes(receipt["transactionHash"]))
    context.emit(
        {**data, "transaction": sent},
        lambda console: facts(console, [*rows, ("transaction", sent)]),
    )


def stake_token(chain: Chain) -> Token:
    """The token that providers stake."""
    from scrip.cli.output import Tokens

    view = chain.at()
    return Tokens(view).at(str(view.read("ProviderRegistry", "STAKE_TOKEN")))


def payment_token(chain: Chain, given: str | None) -> Token:
    """The token at an address or, without one, the one that all classes are priced in.

    Raises BadInput if they aren't priced in one.
    """
    from scrip.cli.output import Tokens
    from scrip.errors import BadInput
    from scrip.structs import ZERO_ADDRESS, to_address

    view = chain.at()
    if given is not None:
        return Tokens(view).at(to_address("--token", given))
    known = {view.class_terms(class_id).payment_token for class_id in view.class_ids()} - {ZERO_ADDRESS}
    if len(known) != 1:
        raise BadInput("--token", None, f"the address of a payment token, one of {sorted(known)}")
    return Tokens(view).at(known.pop())
