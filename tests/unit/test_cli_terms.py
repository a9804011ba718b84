"""What people write for terms, times and amounts: refused by name, or exactly what the contract counts in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scrip.cli import class_terms, moments, signed_files
from scrip.eip712 import sign
from scrip.errors import BadInput
from scrip.types import Funding, Resource, region_bytes, sku_id
from tests.integration.system import account

NOW = 1_800_000_000
TOKEN = "0x" + "33" * 20
ISSUER = "0x" + "44" * 20
LEAST = {"name": "a", "resource": "cpu-second", "sku": "x", "max_supply": "10", "max_rate": "1"}


class View:
    """What terms need of a chain: its time, and tokens of 6 digits."""

    def time(self) -> int:
        return NOW

    def read(self, contract: str, function: str) -> str:
        return TOKEN

    def token_symbol(self, token: str) -> str:
        return "dUSD"

    def token_decimals(self, token: str) -> int:
        return 6


def built(**given: Any) -> class_terms.Wanted:
    view: Any = View()
    return class_terms.build(view, ISSUER, class_terms.merged({**LEAST, **given}, {}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secret": "x"}, "one of name, resource"),
        ({"decimals": "3"}, "an integer"),
        ({"transferable": 1}, "true or false"),
        ({"max_supply": 10}, "text in quotes"),
        ({"providers": "0x12"}, "a list of addresses"),
    ],
)
def test_merged__unknown_or_of_the_wrong_kind__refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        class_terms.merged({**LEAST, **given}, {})


def test_merged__something_missing__names_its_option() -> None:
    with pytest.raises(BadInput, match=r"--max-rate, or a file with --terms"):
        class_terms.merged({key: LEAST[key] for key in LEAST if key != "max_rate"}, {})


def test_merged__option_beats_file_beats_default() -> None:
    found = class_terms.merged({**LEAST, "price": "3", "region": "eu"}, {"price": "4", "region": None})
    assert (found["price"], found["region"], found["funding"]) == ("4", "eu", "sale")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"resource": "gpu"}, "gpu-second, cpu-second"),
        ({"resource": "none"}, "gpu-second, cpu-second"),
        ({"funding": "gift"}, "sale, stake, grant"),
        ({"decimals": 19}, "between 0 and 18"),
        ({"max_supply": "1.5"}, "max_supply: given '1.5', must be a number with at most 0 digits"),
        ({"max_deviation": "0.001"}, "at most 2 digits"),
        ({"price": "1"}, "token: given None"),
        ({"expiry": "2020-01-01"}, "in the future"),
        ({"challenge_window": "1 day"}, "300s, 90m, 36h or 7d"),
        ({"region": "a-very-long-region"}, "12 ASCII"),
        ({"sku": ""}, "label of a SKU"),
        ({"providers": ["me"]}, "provider"),
    ],
)
def test_build__malformed__refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        built(**given)


def test_build__everything_given__is_what_the_contract_counts_in() -> None:
    wanted = built(
        resource="gpu-second", decimals=3, funding="sale", transferable=False, max_supply="1000.5",
        max_per_holder="10", max_rate="8", price="2.5", token=TOKEN, price_feed=ISSUER, max_price_age="1h",
        max_deviation="2.5", expiry="30d", challenge_window="24h", arbiter_set=1, watcher_set=2,
        min_assurance=2, stake="100", region="eu", sku="h100", providers=[TOKEN],
    )  # fmt: skip
    terms = wanted.terms
    assert (terms.resource, terms.funding, terms.transferable) == (Resource.GPU_SECOND, Funding.SALE, False)
    assert (terms.max_supply, terms.max_per_holder, terms.max_rate) == (1_000_500, 10_000, 8_000)
    assert (terms.price_per_million, terms.stake_per_million) == (2_500_000, 100_000_000)
    assert (terms.max_price_age, terms.max_deviation_bps) == (3_600, 250)
    assert (terms.expiry, terms.challenge_window) == (NOW + 30 * 86_400, 86_400)
    assert (terms.sku, terms.region) == (sku_id("h100"), region_bytes("eu"))
    assert (terms.watcher_set, terms.arbiter_set, wanted.providers) == (2, 1, (terms.payment_token,))


def test_build__sku_as_a_hash__taken_as_it_is() -> None:
    assert built(sku="0x" + "5a" * 32).terms.sku == b"\x5a" * 32


@pytest.mark.parametrize("text", ["", "7", "7w", "-7d", "1d2h", "2027-13-01", "tomorrow"])
def test_until__not_a_moment__refused(text: str) -> None:
    with pytest.raises(BadInput, match="--expiry"):
        moments.until("--expiry", text, NOW)


def test_until__date_time_and_duration__exact() -> None:
    assert moments.until("x", "90m", NOW) == NOW + 5_400
    assert moments.until("x", "2030-01-01", NOW) == 1_893_456_000
    assert moments.until("x", "2030-01-01T01:00+01:00", NOW) == 1_893_456_000


@pytest.mark.parametrize("text", ["", "[]", '{"verdict": {}}', '{"verdict": {}, "signatures": 1}'])
def test_signed_file__malformed__refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"v\.json"):
        signed_files.read(path, "verdict")


def test_signed_file__two_signers__read_back_in_the_contracts_order(tmp_path: Path) -> None:
    digest, path = b"\x07" * 32, tmp_path / "v.json"
    given = {account(name).address: sign(digest, account(name)) for name in ("a", "b", "c")}
    signed_files.write(path, "verdict", {"x": "1"}, given)
    found = signed_files.signatures(signed_files.read(path, "verdict"), digest)
    assert list(found) == sorted(given, key=lambda one: int(one, 16))
    assert found == given
    assert [one.name for one in tmp_path.iterdir()] == ["v.json"]


def test_signed_file__folder_is_gone__one_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a file that can be written"):
        signed_files.write(tmp_path / "none" / "v.json", "verdict", {}, {})


def test_signed_file__not_there__said_in_words(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"given 'No such file or directory', must be a file that can be read$"
    ):
        signed_files.read(tmp_path / "v.json", "verdict")


def test_terms_file__not_toml__refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("a = ")
    with pytest.raises(BadInput, match="a TOML file"):
        class_terms.read(tmp_path / "c.toml")


def test_terms_file__not_there__said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a file that can be read \(No such file or directory\)$"):
        class_terms.read(tmp_path / "none.toml")
