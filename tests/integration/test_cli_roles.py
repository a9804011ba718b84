"""Issuers, makers, budget owners, providers, watchers and arbiters at the command line, on real contracts:
what is refused first, then the exact money that moves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scrip.cli import rehearsal
from scrip.types import Status
from tests.integration.cli_stage import CREDIT, DOLLAR, Stage, enter
from tests.integration.scene import Scene
from tests.integration.system import account

KEY = "scrip --keystore key.json "


@pytest.fixture
def stage(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return enter(scene, tmp_path, monkeypatch)


def fails(stage: Stage, command: str, status: int = 1) -> str:
    """The one line of a command that must fail, and send nothing."""
    before = stage.blocks()
    result = stage.run(KEY + command)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (status, "", 1), result.output
    assert stage.blocks() == before
    return str(result.stderr)


# Dry runs


def test_dry_run__would_revert__names_the_error_and_fails(stage: Stage) -> None:
    stage.by("stranger")
    line = fails(stage, "class close 1 --dry-run")
    assert "ComputeCredits_NotIssuer" in line
    assert "Only its issuer may" in line


def test_dry_run__second_transaction_would_revert__named_though_the_first_is_not_mined(stage: Stage) -> None:
    stage.by("stranger")
    stage.scene.system.mint(account("stranger").address, 5 * DOLLAR)
    # The approval would pass; staking needs a registration.
    assert "scrip provider register" in fails(stage, "provider stake 5 --dry-run")
    assert (
        stage.scene.chain.at().token_allowance(
            stage.scene.at("DemoUSD"), stage.scene.at("stranger"), stage.scene.at("ProviderRegistry")
        )
        == 0
    )


def test_dry_run__approval_first__both_simulated_in_order(stage: Stage) -> None:
    stage.staked()
    shown = stage.done(KEY + "provider stake 50 --dry-run")
    assert [row["function"] for row in shown["transactions"]] == ["approve", "stake"]
    assert [row["arguments"][-1]["value"] for row in shown["transactions"]] == ["50000000", "50000000"]
    assert shown["enoughCoin"] is True


def test_dry_run__node_without_simulation_of_sequences__says_what_it_did_not_try(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.staked()
    monkeypatch.setattr(rehearsal, "_simulate", lambda *_: None)
    shown = stage.done(KEY + "provider stake 50 --dry-run")
    assert [row["gas"] is None for row in shown["transactions"]] == [False, True]
    assert "can't simulate what follows" in stage.run(KEY + "provider stake 50 --dry-run").stdout


def test_dry_run__no_coin_for_gas__said(stage: Stage) -> None:
    stage.buyer()
    stage.scene.system.anvil.set_balance(account("buyer").address, 1)
    result = stage.run(KEY + "send 1 5 $ACCOUNT --dry-run")
    assert (result.exit_code, "too little coin" in result.stdout) == (0, True), result.output


# Issuer


def test_class_create__term_out_of_range__named(stage: Stage) -> None:
    stage.admin()
    line = fails(stage, "class create --terms class.toml --min-assurance 4")
    assert "That is the term minAssurance" in line
    assert "No such watcher set" in fails(stage, "class create --terms class.toml --watcher-set 7")


def test_class_create__without_the_role__says_so(stage: Stage) -> None:
    stage.by("stranger")
    assert "doesn't have the role" in fails(stage, "class create --terms class.toml")


def test_class_create__file_and_options__on_chain_as_written(stage: Stage) -> None:
    stage.admin()
    made = stage.done(KEY + "class create --terms class.toml --price 3.25 --bound")
    terms = stage.scene.chain.at().class_terms(int(made["class"]))
    assert (terms.price_per_million, terms.max_supply, terms.max_rate) == (3_250_000, 10**9, 8_000)
    assert (terms.transferable, terms.challenge_window, terms.stake_per_million) == (
        False,
        86_400,
        100 * DOLLAR,
    )
    assert stage.scene.read("ComputeCredits", "isListed", int(made["class"]), stage.scene.at("provider"))


def test_class_grant__of_a_class_that_is_sold__points_to_buying(stage: Stage) -> None:
    stage.admin()
    assert "can only be bought" in fails(stage, "class grant 1 5 $ACCOUNT")


def test_class_grant__decimal_amount__exact(stage: Stage) -> None:
    stage.granted()
    stage.done(KEY + "class grant 2 2.125 $ACCOUNT")
    assert stage.scene.credits("friend", 2) == 2_125
    assert "at most 3 digits" in fails(stage, "class grant 2 0.0001 $ACCOUNT")


def test_class_reclaim__closed_class__pays_its_share_of_the_backing(stage: Stage) -> None:
    stage.buyer()
    assert "once the class is closed or expired" in fails(stage, "class reclaim 1 5")
    stage.scene.system.send("ComputeCredits", "closeClass", 1)
    before = stage.scene.tokens("buyer")
    paid = stage.done(KEY + "class reclaim 1 2.5")
    assert int(paid["amount"]["baseUnits"]) == stage.scene.tokens("buyer") - before == 2_500_000


def test_class_price__fixed__says_why_it_stays(stage: Stage) -> None:
    result = stage.run("scrip class price 1 2.5")
    assert "2.5 dUSD" in result.stdout
    assert "never change" in result.stderr


# Sending and offers


def test_send__more_than_is_free__nothing_moves(stage: Stage) -> None:
    stage.buyer()
    assert "has 1000 free credits" in fails(stage, "send 1 1000.001 $ACCOUNT")
    assert "to somebody else" in fails(stage, f"send 1 5 {account('buyer').address}")
    assert "to somebody else" in fails(stage, "send 1 0 $ACCOUNT")


def test_send__part__exact_on_both_sides(stage: Stage) -> None:
    stage.buyer()
    stage.done(KEY + "send 1 0.001 $ACCOUNT")
    assert (stage.scene.credits("buyer"), stage.scene.credits("friend")) == (999_999, 1)


def test_offer_fill__parts_that_do_not_divide__price_rounded_up_and_never_over_filled(stage: Stage) -> None:
    stage.offered()
    before = stage.scene.tokens("buyer")
    filled = stage.done(KEY + "offer fill offers.json 0.333")
    # 6.5 dollars for 5 credits: 0.4329 for 0.333.
    assert int(filled["price"]["baseUnits"]) == before - stage.scene.tokens("buyer") == 432_900
    assert stage.done("scrip offer show offers.json")["offers"][0]["left"]["credits"] == "4.667"
    assert "at most what is left" in fails(stage, "offer fill offers.json 4.668")
    stage.done(KEY + "offer fill offers.json")
    assert "can't be filled: filled" in fails(stage, "offer fill offers.json")


def test_offer_fill__offer_to_buy__credits_against_tokens(stage: Stage) -> None:
    stage.buyer()
    stage.done(KEY + "offer create 1 5 6.5 --buy --out bid.json")
    stage.by("seller")
    stage.scene.give("seller", 5 * CREDIT)
    before = stage.scene.tokens("seller")
    assert stage.done(KEY + "offer fill bid.json 2")["sold"]["credits"] == "2"
    assert stage.scene.tokens("seller") - before == 2_600_000


def test_offer_fill__changed_by_hand__refused(stage: Stage) -> None:
    stage.offered()
    path = stage.folder / "offers.json"
    data: Any = json.loads(path.read_text())
    data[0]["offer"]["price"] = "1"
    path.write_text(json.dumps(data))
    assert "not signed by its maker" in fails(stage, "offer fill offers.json")


def test_offer_cancel__one_and_all__no_longer_fillable(stage: Stage) -> None:
    stage.offer()
    stage.done(KEY + "offer create 1 5 7 --out second.json")
    assert "both or neither" in fails(stage, "offer cancel")
    stage.done(KEY + "offer cancel offers.json")
    stage.done(KEY + "offer cancel --all")
    stage.buyer()
    assert "cancelled" in fails(stage, "offer fill offers.json")
    assert "all of its epoch" in fails(stage, "offer fill second.json")


def test_offer_create__file_is_there__never_overwritten(stage: Stage) -> None:
    stage.offer()
    assert "a file that isn't there yet" in fails(stage, "offer create 1 5 6.5 --out offers.json")


# Budgets


def test_budget_create__no_lifetime_or_no_period__refused(stage: Stage) -> None:
    stage.buyer()
    assert "--lifetime" in fails(stage, "budget create $ACCOUNT")
    assert "--period" in fails(stage, "budget create $ACCOUNT --lifetime 5 --per-period 1")


def test_budget__set_by_a_stranger__refused_by_name(stage: Stage) -> None:
    stage.budgets()
    stage.by("stranger")
    assert "tree's owner" in fails(stage, "budget set 1 --lifetime 1")


def test_budget__made_divided_changed_revoked__as_the_chain_has_it(stage: Stage) -> None:
    stage.buyer()
    stage.done(KEY + "budget create $ACCOUNT --lifetime 100 --per-action 5 --provider $PROVIDER")
    child = stage.done(KEY + "budget child 1 $ORACLE --lifetime 10.5 --period 1d --per-period 2")
    assert (child["budget"], child["parent"], child["lifetime"]["baseUnits"]) == ("2", "1", "10500000")
    stage.done(KEY + "budget set 2 --lifetime 20 --any-provider")
    limits = stage.scene.chain.at().budget(2).limits
    assert (limits.lifetime, limits.per_period, limits.period) == (20 * DOLLAR, 2 * DOLLAR, 86_400)
    assert stage.scene.read("SpendingBudgets", "isListed", 1, stage.scene.at("provider"))
    stage.done(KEY + "budget revoke 2")
    states = {one["budget"]: one["state"] for one in stage.done(KEY + "budget list")["budgets"]}
    assert states == {"1": "open", "2": "revoked"}


# Providers


def test_provider_register__own_key_as_oracle__refused(stage: Stage) -> None:
    me = stage.by("newcomer").address
    assert "another key" in fails(stage, f"provider register --oracle {me} --uri http://x/")


def test_provider_stake__more_than_is_there__nothing_is_sent(stage: Stage) -> None:
    stage.staked()
    assert "InsufficientStake" in fails(stage, "provider unstake 100.000001")
    assert "at least one of" in fails(stage, "provider update")


def test_provider_withdraw__earned__paid_less_the_fee(stage: Stage) -> None:
    stage.settled()
    stage.by("provider")
    earned, before = stage.scene.earned("provider"), stage.scene.tokens("provider")
    assert "can't be withdrawn" in fails(stage, "provider withdraw 4000.1")
    shown = stage.done(KEY + "provider earnings")["earnings"][0]["baseUnits"]
    paid = stage.done(KEY + "provider withdraw")
    fee = int(paid["fee"]["baseUnits"])
    assert (int(shown), earned, stage.scene.earned("provider")) == (4 * DOLLAR, 4 * DOLLAR, 0)
    assert stage.scene.tokens("provider") - before == earned - fee


def test_provider_serve__class_of_others__refused(stage: Stage) -> None:
    other = stage.scene.system.create_class([account("friend").address])
    stage.by("provider")
    assert "isn't among them" in fails(stage, f"provider serve {other}")


# Watchers, arbiters


def test_attest_capacity__one_signature_too_few__named_then_recorded(stage: Stage) -> None:
    stage.attested()
    data = json.loads((stage.folder / "capacity.json").read_text())
    (stage.folder / "one.json").write_text(json.dumps({**data, "signatures": data["signatures"][:1]}))
    assert "More watchers must sign" in fails(stage, "watcher attest-capacity one.json")
    stage.done(KEY + "watcher attest-capacity capacity.json")
    assert stage.done("scrip watcher capacity $PROVIDER test-cpu 1")["count"] == 8


def test_post_price__two_rounds__class_follows_the_feed_within_its_bounds(stage: Stage) -> None:
    stage.priced()
    stage.done(KEY + "watcher post-price price.json")
    assert "Sign a fresh one" in fails(stage, "watcher post-price price.json")
    fed = {"price_feed": stage.scene.at("PriceFeed"), "max_price_age": 3_600, "max_deviation_bps": 1_000}
    class_id = stage.class_with(price_per_million=2_400_000, **fed)
    shown = stage.done(f"scrip class price {class_id}")
    assert (shown["cost"]["amount"], shown["fixed"], shown["feed"]) == (
        "2.5",
        False,
        stage.scene.at("PriceFeed"),
    )
    (stage.folder / "price.json").unlink()
    stage.past(60)
    for name in ("watcher 0", "watcher 1"):
        stage.by(name)
        stage.done(KEY + "watcher sign-price price.json --feed $FEED --price 3")
    assert "only so far" in fails(stage, "watcher post-price price.json")


def test_sign__not_in_the_set__refused_and_no_file(stage: Stage) -> None:
    stage.disputed()
    stage.by("stranger")
    line = fails(
        stage, "watcher sign-capacity c.json --provider $PROVIDER --sku a --set 1 --count 1 --until 1d"
    )
    assert "isn't in watcher set 1" in line
    line = fails(stage, "dispute verdict sign v.json --job $JOB --units 0 --fault provider")
    assert "isn't in arbiter set 1" in line
    assert "of the feed" in fails(stage, "watcher sign-price p.json --feed $FEED --price 2")
    assert "a PriceFeed on this chain" in fails(stage, "watcher sign-price p.json --feed $ACCOUNT --price 2")
    assert not {"c.json", "v.json", "p.json"} & {one.name for one in stage.folder.iterdir()}


def test_dispute__provider_wrong__payer_has_its_credits_and_the_challenger_its_bond(stage: Stage) -> None:
    stage.judged()
    bond = int(stage.scene.read("ProviderRegistry", "CHALLENGE_BOND"))
    before = stage.scene.credits("buyer", 2)
    done = stage.done(KEY + "dispute verdict submit verdict.json")
    assert (done["status"], stage.scene.credits("buyer", 2) - before) == (Status.REFUNDED.name, 10 * CREDIT)
    stage.by("challenger")
    assert int(stage.done(KEY + "provider withdraw-award")["paid"]["baseUnits"]) == bond


def test_dispute_open__after_the_window__not_even_the_bond_is_approved(stage: Stage) -> None:
    stage.submitted()
    stage.past(4_000)
    stage.by("challenger")
    stage.scene.system.mint(account("challenger").address, 100 * DOLLAR)
    assert "DeadlinePassed" in fails(stage, "dispute open $JOB")


def test_offer_fill__too_few_tokens__nothing_is_approved(stage: Stage) -> None:
    stage.offer()
    stage.by("stranger")
    stage.scene.system.mint(account("stranger").address, DOLLAR)
    assert "InsufficientBalance" in fails(stage, "offer fill offers.json")
