"""The terms of a class to be created, from options and a TOML file, as people write them.

Amounts are in credits and tokens, times in dates and durations, kinds in words; here they become what the
contract counts in. What the contract then refuses it names by itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scrip.amounts import parse_units
from scrip.cli.moments import seconds, until
from scrip.cli.output import Tokens
from scrip.errors import BadInput
from scrip.structs import ZERO_ADDRESS, to_address
from scrip.types import ClassTerms, Funding, Resource, region_bytes, sku_id

if TYPE_CHECKING:
    from scrip.cli.output import Token
    from scrip.view import ChainView

PERCENT_DECIMALS: Final = 2
"""`max_deviation` is a percentage with two digits after the point: basis points."""
_NO_SKU: Final = bytes(32)

DEFAULTS: Final[Mapping[str, Any]] = {
    "decimals": 0, "funding": "sale", "transferable": True, "capacity_bound": False, "min_assurance": 1,
    "watcher_set": 0, "challenge_window": "0s", "arbiter_set": 0, "expiry": "", "max_per_holder": "0",
    "region": "any", "price": "0", "token": ZERO_ADDRESS, "price_feed": ZERO_ADDRESS, "max_price_age": "0s",
    "max_deviation": "0", "eligibility": ZERO_ADDRESS, "stake": "0", "providers": (),
}  # fmt: skip
REQUIRED: Final = ("name", "resource", "sku", "max_supply", "max_rate")
KEYS: Final = (*REQUIRED, *DEFAULTS)

_NUMBERS: Final = frozenset({"decimals", "min_assurance", "watcher_set", "arbiter_set"})
_SWITCHES: Final = frozenset({"transferable", "capacity_bound"})
_HEX32: Final = re.compile(r"0x[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A class to be created. Only `providers` may serve it; with none, whoever has its SKU and region."""

    terms: ClassTerms
    providers: tuple[str, ...]


def read(path: Path) -> dict[str, Any]:
    """Terms from a TOML file. Raises BadInput."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput("--terms", str(path), f"a file that can be read ({error.strerror})") from None
    except ValueError as error:
        raise BadInput("--terms", str(path), f"a TOML file ({error!s:.100})") from None


def merged(file: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values, options in their place where given, defaults where neither is. Raises BadInput."""
    given = {**file, **{key: value for key, value in options.items() if value is not None}}
    odd = sorted(set(given) - set(KEYS))
    if odd:
        raise BadInput("class terms", odd[0], f"one of {', '.join(KEYS)}")
    missing = [key for key in REQUIRED if key not in given]
    if missing:
        names = ", ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise BadInput("class terms", f"no {missing[0]}", f"complete: give {names}, or a file with --terms")
    for key, value in given.items():
        _check_kind(key, value)
    return {**DEFAULTS, **given}


def build(view: ChainView, issuer: str, given: Mapping[str, Any]) -> Wanted:
    """The contract's terms. Raises BadInput."""
    now, tokens = view.time(), Tokens(view)
    token = to_address("token", given["token"])
    decimals = given["decimals"]
    if not 0 <= decimals <= 18:
        raise BadInput("decimals", decimals, "between 0 and 18")

    def credits(key: str) -> int:
        return _amount(key, given[key], decimals)

    def paid(key: str, of: Callable[[], Token]) -> int:
        return 0 if given[key] == "0" else _amount(key, given[key], of().decimals)

    stake = str(view.read("ProviderRegistry", "STAKE_TOKEN"))
    terms = ClassTerms(
        issuer=issuer,
        resource=_word("resource", given["resource"], Resource),
        decimals=decimals,
        funding=_word("funding", given["funding"], Funding),
        transferable=given["transferable"],
        capacity_bound=given["capacity_bound"],
        min_assurance=given["min_assurance"],
        watcher_set=given["watcher_set"],
        challenge_window=seconds("challenge_window", given["challenge_window"]),
        max_rate=credits("max_rate"),
        expiry=until("expiry", given["expiry"], now) if given["expiry"] else 0,
        max_supply=credits("max_supply"),
        max_per_holder=credits("max_per_holder"),
        sku=_sku(given["sku"]),
        region=region_bytes(given["region"]),
        payment_token=token,
        price_per_million=paid("price", lambda: tokens.at(_needed(token))),
        price_feed=to_address("price_feed", given["price_feed"]),
        max_price_age=seconds("max_price_age", given["max_price_age"]),
        eligibility=to_address("eligibility", given["eligibility"]),
        arbiter_set=given["arbiter_set"],
        stake_per_million=paid("stake", lambda: tokens.at(stake)),
        max_deviation_bps=_amount("max_deviation", given["max_deviation"], PERCENT_DECIMALS),
        name=given["name"],
    )
    return Wanted(terms, tuple(to_address("provider", one) for one in given["providers"]))


def _check_kind(key: str, value: object) -> None:
    """TOML's numbers may be written without quotes; anything that isn't what the key needs is refused."""
    if key == "providers":
        good = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
    elif key in _SWITCHES:
        good = isinstance(value, bool)
    elif key in _NUMBERS:
        good = type(value) is int
    else:
        good = isinstance(value, str)
    if not good:
        kind = "true or false" if key in _SWITCHES else "an integer" if key in _NUMBERS else "text in quotes"
        raise BadInput(f"class terms: {key}", value, "a list of addresses" if key == "providers" else kind)


def _amount(key: str, text: str, decimals: int) -> int:
    try:
        return parse_units(text, decimals)
    except BadInput as wrong:
        raise BadInput(key, wrong.given, wrong.limit) from None


def _word(key: str, text: str, kinds: Any) -> Any:
    """An enum's member by its name, written with dashes: gpu-second."""
    names = {one.name.lower().replace("_", "-"): one for one in kinds if one.name != "NONE"}
    if text not in names:
        raise BadInput(key, text, f"one of {', '.join(names)}")
    return names[text]


def _sku(text: str) -> bytes:
    """The hash of a SKU's label, or the hash itself where it is given."""
    if _HEX32.match(text):
        return bytes.fromhex(text[2:])
    if not text:
        raise BadInput("sku", text, "the label of a SKU, e.g. nvidia-h100-80gb")
    return sku_id(text)


def _needed(token: str) -> str:
    if token == ZERO_ADDRESS:
        raise BadInput("token", None, "given with a price: the ERC-20 it is in")
    return token
