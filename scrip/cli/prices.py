"""`scrip watcher`: prices that watchers post to a feed, which classes may follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import Act, report, send
from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import facts, utc
from scrip.cli.watchers import app

if TYPE_CHECKING:
    from scrip.chain import Chain

__all__ = ["app"]

KIND = "price"
PriceFile = Annotated[Path, typer.Argument(metavar="FILE", help="File with the signed price.")]


@dataclass(frozen=True, slots=True)
class Answer:
    """A round of a feed: `answer` in the feed's decimals, `observed_at` unix seconds."""

    feed: str
    round_id: int
    answer: int
    observed_at: int

    def to_json(self) -> dict[str, str]:
        """JSON object."""
        return {
            "feed": self.feed, "round": str(self.round_id), "answer": str(self.answer),
            "observedAt": str(self.observed_at),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: object) -> Answer:
        """Inverse of `to_json`. Raises BadInput."""
        from scrip.errors import BadInput
        from scrip.structs import to_address

        keys = ("feed", "round", "answer", "observedAt")
        if not isinstance(data, dict) or set(data) != set(keys):
            raise BadInput(KIND, data, f"an object with exactly {', '.join(keys)}")
        numbers = [str(data[key]) for key in keys[1:]]
        if not all(text.isascii() and text.isdecimal() and len(text) <= 40 for text in numbers):
            raise BadInput(KIND, data, "whole numbers as text")
        return cls(to_address("feed", data["feed"]), *map(int, numbers))


@command(
    app,
    "sign-price",
    example="scrip --keystore key.json watcher sign-price price.json --feed $FEED --price 2.5",
)
def sign_price(
    ctx: typer.Context,
    file: PriceFile,
    feed: Annotated[str | None, typer.Option(metavar="ADDRESS", help="The feed.")] = None,
    price: Annotated[str | None, typer.Option(help="Price of a million credits, e.g. 2.5.")] = None,
) -> None:
    """Sign today's price, as one of a feed's watchers. With a FILE that exists, add your signature to it."""
    from scrip.cli import signed_files
    from scrip.eip712 import sign
    from scrip.errors import Refused

    context = Context.of(ctx)
    chain = context.chain()
    said, signed = _read(chain, file) if file.exists() else (_observed(chain, feed, price), {})
    account, at = context.account(chain.chain_id), _on(chain, said.feed)
    group = int(at.at().read("PriceFeed", "WATCHER_SET"))
    if not chain.at().read("ReceiptVerifier", "isWatcher", group, account.address):
        raise Refused(
            f"{account.address} isn't in watcher set {group} of the feed. See: scrip watcher show {group}"
        )
    signature = sign(_digest(chain, said), account)
    signers = signed_files.add(file, KIND, said.to_json(), signed, account.address, signature)
    data = {KIND: said.to_json(), "signers": signers, "file": str(file)}
    rows = [*_rows(at, said), *(("signed by", one) for one in signers)]
    context.emit(data, lambda console: facts(console, rows))


@command(app, "post-price", example="scrip --keystore key.json watcher post-price price.json", sends=True)
def post_price(ctx: typer.Context, file: PriceFile) -> None:
    """Post a price that enough watchers signed, within an hour. Anyone may send it."""
    context = Context.of(ctx)
    chain = context.chain()
    said, signed = _read(chain, file)
    at = _on(chain, said.feed)
    arguments = (said.round_id, said.answer, said.observed_at, list(signed.values()))
    receipt = send(context, at, Act("PriceFeed", "post", arguments, f"post-price {said.round_id}"))
    report(context, receipt, {KIND: said.to_json(), "signers": list(signed)}, _rows(at, said))


def _on(chain: Chain, feed: str) -> Chain:
    """The deployment with this feed in it: classes name their feeds by address. Raises BadInput."""
    from scrip.chain import Chain
    from scrip.errors import BadInput

    if not chain.code(feed):
        raise BadInput("--feed", feed, "a PriceFeed on this chain. See: scrip class show")
    known = {**chain.deployment.contracts, "PriceFeed": feed}
    return Chain(chain.w3, replace(chain.deployment, contracts=known), finality_depth=chain.finality_depth)


def _observed(chain: Chain, feed: str | None, price: str | None) -> Answer:
    from scrip.amounts import parse_units
    from scrip.errors import BadInput
    from scrip.structs import to_address

    if feed is None or price is None:
        raise BadInput("sign-price", "a new FILE", "given both of --feed and --price")
    place = to_address("--feed", feed)
    view = _on(chain, place).at()
    answer = parse_units(price, int(view.read("PriceFeed", "decimals")))
    return Answer(place, int(view.read("PriceFeed", "latestRound")) + 1, answer, view.time())


def _read(chain: Chain, file: Path) -> tuple[Answer, dict[str, bytes]]:
    from scrip.cli import signed_files

    data = signed_files.read(file, KIND)
    said = Answer.from_json(data[KIND])
    return said, signed_files.signatures(data, _digest(chain, said))


def _digest(chain: Chain, said: Answer) -> bytes:
    from scrip.eip712_watchers import answer_digest

    return answer_digest(said.round_id, said.answer, said.observed_at, chain.chain_id, said.feed)


def _rows(chain: Chain, said: Answer) -> list[tuple[str, Any]]:
    from scrip.amounts import format_units

    decimals = int(chain.at().read("PriceFeed", "decimals"))
    return [
        ("feed", said.feed),
        ("round", str(said.round_id)),
        ("price of 1M", format_units(said.answer, decimals)),
        ("observed", utc(said.observed_at)),
    ]
