"""Parameters of a deployment: by kind of chain, from a TOML file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrip.deploying.config import (
    DAY,
    DEMO_BOND,
    HOUR,
    ChainKind,
    ConfigProblem,
    DelayOverrides,
    DisputeOverrides,
    Overrides,
    PriceOverrides,
    RoleOverrides,
    TokenOverrides,
    WatcherOverrides,
    for_chain,
    kind_of,
)
from scrip.keys import DEV_ADDRESSES
from scrip.structs import ZERO_ADDRESS

SEPOLIA, MAINNET, LOCAL, UNHEARD_OF = 11155111, 1, 31337, 987_654_321
DEPLOYER = "0x" + "11" * 20
ONE, TWO, THREE = ("0x" + f"{number:02x}" * 20 for number in (2, 3, 4))
DEV = min(DEV_ADDRESSES)
BOND = DisputeOverrides(challenge_bond=5)
TOKEN = Overrides(tokens=TokenOverrides(payment=ONE), disputes=BOND)


@pytest.mark.parametrize("chain_id", [MAINNET, 8453, UNHEARD_OF])
def test_for_chain__live_without_payment_token__refused(chain_id: int) -> None:
    with pytest.raises(ConfigProblem, match=rf"tokens.payment: missing on chain {chain_id}; DemoUSD is for"):
        for_chain(chain_id, DEPLOYER)


@pytest.mark.parametrize(
    ("members", "threshold", "problem"),
    [
        ([ONE, ONE], 1, "members: given 2, must be at most 32 different"),
        ([ONE], 2, "threshold: given 2"),
        ([ONE], 0, "threshold: given 0"),
        ([], 1, "threshold: given 1"),
    ],
)
def test_for_chain__impossible_watchers__refused(members: list[str], threshold: int, problem: str) -> None:
    watchers = WatcherOverrides(members=members, threshold=threshold)
    with pytest.raises(ConfigProblem, match=problem):
        for_chain(LOCAL, DEPLOYER, Overrides(watchers=watchers))


def test_for_chain__too_many_watchers__refused() -> None:
    members = [f"0x{number:040x}" for number in range(1, 34)]
    with pytest.raises(ConfigProblem, match="given 33, must be at most 32"):
        for_chain(LOCAL, DEPLOYER, Overrides(watchers=WatcherOverrides(members=members)))


@pytest.mark.parametrize(
    ("where", "roles", "watchers"),
    [
        ("roles.admin", RoleOverrides(admin=DEV), WatcherOverrides()),
        ("roles.issuers", RoleOverrides(issuers=[ONE, DEV]), WatcherOverrides()),
        ("roles.pausers", RoleOverrides(pausers=[DEV, TWO]), WatcherOverrides()),
        ("roles.watcher_admin", RoleOverrides(watcher_admin=DEV), WatcherOverrides()),
        ("roles.fee_collector", RoleOverrides(fee_collector=DEV), WatcherOverrides()),
        ("watchers.members", RoleOverrides(), WatcherOverrides(members=[DEV])),
    ],
)
def test_for_chain__development_account_off_local_chains__refused(
    where: str, roles: RoleOverrides, watchers: WatcherOverrides
) -> None:
    overrides = Overrides(roles=roles, watchers=watchers)
    with pytest.raises(ConfigProblem, match=f"{where}: {DEV} is a well-known development account") as raised:
        for_chain(SEPOLIA, DEPLOYER, overrides)
    assert len(raised.value.problems) == 1
    assert for_chain(LOCAL, DEPLOYER, overrides).kind is ChainKind.LOCAL


def test_for_chain__development_deployer_off_local_chains__every_problem_is_named() -> None:
    with pytest.raises(ConfigProblem) as raised:
        for_chain(MAINNET, DEV)
    places = [problem.partition(":")[0] for problem in raised.value.problems]
    named = ["roles.admin", "roles.issuers", "roles.pausers", "roles.watcher_admin", "roles.fee_collector"]
    assert places == ["tokens.payment", "the deployer", *named]


@pytest.mark.parametrize("chain_id", [LOCAL, SEPOLIA, MAINNET])
def test_for_chain__token_of_ones_own_without_a_bond__refused(chain_id: int) -> None:
    with pytest.raises(ConfigProblem, match="challenge_bond: missing"):
        for_chain(chain_id, DEPLOYER, Overrides(tokens=TokenOverrides(payment=ONE)))


@pytest.mark.parametrize("chain_id", [10, 8453, 42161])
def test_for_chain__live_rollup_without_a_word_on_its_sequencer__refused(chain_id: int) -> None:
    with pytest.raises(ConfigProblem, match="sequencer_feed: missing on"):
        for_chain(chain_id, DEPLOYER, TOKEN)


@pytest.mark.parametrize("feed", [ZERO_ADDRESS, TWO])
def test_for_chain__live_rollup_with_a_word_on_its_sequencer__is_taken(feed: str) -> None:
    overrides = Overrides(tokens=TOKEN.tokens, disputes=BOND, prices=PriceOverrides(sequencer_feed=feed))
    assert for_chain(8453, DEPLOYER, overrides).sequencer_feed == feed


def test_read__missing_file__refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="No such file"):
        Overrides.read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[roles", "not TOML"),
        ("[role]\nadmin = '0x12'", "role: Extra inputs are not permitted"),
        ("[roles]\nadmin = '0x12'", "roles.admin: Value error, must be an address"),
        (f"[roles]\nissuers = '{ONE}'", "roles.issuers: Input should be a valid list"),
        ("[watchers]\nthreshold = '2'", "watchers.threshold: Input should be a valid integer"),
        ("[delays]\nunbonding = -1", "delays.unbonding: Input should be greater than or equal to 0"),
        ("[delays]\nunbonding = 1.5", "delays.unbonding: Input should be a valid integer"),
        ("[delays]\nunbonding = 7776001", "delays.unbonding: Input should be less than or equal to 7776000"),
        ("[delays]\nroles = 2592001", "delays.roles: Input should be less than or equal to 2592000"),
        ("[delays]\nclose = 3599", "delays.close: Input should be greater than or equal to 3600"),
        ("[disputes]\nchallenge_bond = 0", "disputes.challenge_bond: Input should be greater than 0"),
        ("[prices]\nsequencer_feed = '0x12'", "prices.sequencer_feed: Value error, must be an address"),
        # One letter in the wrong case: a mistyped address must not pass for another one.
        (f"[tokens]\npayment = '{DEV[:2] + DEV[2:].swapcase()}'", "valid checksum"),
    ],
)
def test_read__wrong_file__problem_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "deploy.toml"
    path.write_text(text)
    with pytest.raises(ConfigProblem, match=problem):
        Overrides.read(path)


def test_read__whole_file__replaces_every_default(tmp_path: Path) -> None:
    path = tmp_path / "deploy.toml"
    path.write_text(
        f"""
        [roles]
        admin = "{ONE}"
        issuers = ["{TWO}", "{THREE}"]
        pausers = ["{THREE}"]
        watcher_admin = "{TWO}"
        fee_collector = "{THREE}"
        [watchers]
        members = ["{THREE}", "{ONE}", "{TWO}"]
        threshold = 2
        [tokens]
        payment = "{ONE}"
        stake = "{TWO}"
        [delays]
        admin = 1
        roles = 4
        unbonding = 2
        activation = 3
        close = 3600
        [disputes]
        challenge_bond = 7
        [prices]
        sequencer_feed = "{THREE}"
        """
    )
    config = for_chain(MAINNET, DEPLOYER, Overrides.read(path))
    assert (config.admin, config.issuers, config.pausers) == (ONE, (TWO, THREE), (THREE,))
    assert (config.watcher_admin, config.fee_collector) == (TWO, THREE)
    assert (config.watchers, config.threshold) == ((ONE, TWO, THREE), 2)
    assert (config.payment_token, config.stake_token) == (ONE, TWO)
    assert (config.delays.admin, config.delays.unbonding, config.delays.activation) == (1, 2, 3)
    assert (config.delays.roles, config.delays.close) == (4, 3600)
    assert (config.challenge_bond, config.sequencer_feed) == (7, THREE)


def test_for_chain__nothing_given_on_a_local_chain__deployer_has_every_role_and_no_delays_bind() -> None:
    config = for_chain(LOCAL, DEPLOYER)
    holders = {config.admin, *config.issuers, *config.pausers, config.watcher_admin, config.fee_collector}
    assert holders == {DEPLOYER}
    assert (config.watchers, config.threshold, config.payment_token, config.stake_token) == (
        (),
        0,
        None,
        None,
    )
    assert (config.delays.admin, config.delays.roles, config.delays.activation) == (0, 0, 0)
    # The contract takes no shorter one for sessions.
    assert config.delays.close == HOUR
    assert (config.challenge_bond, config.sequencer_feed) == (DEMO_BOND, ZERO_ADDRESS)


def test_for_chain__test_chain__demo_token_is_allowed() -> None:
    assert for_chain(SEPOLIA, DEPLOYER).payment_token is None


def test_for_chain__live_chain__delays_are_days_and_stake_is_paid_in_the_payment_token() -> None:
    config = for_chain(MAINNET, DEPLOYER, TOKEN)
    delays = config.delays
    assert min(delays.admin, delays.roles, delays.unbonding, delays.activation) >= 2 * DAY
    assert config.stake_token == config.payment_token == ONE


def test_for_chain__zero_delay_given__is_not_taken_for_missing() -> None:
    overrides = Overrides(tokens=TOKEN.tokens, disputes=BOND, delays=DelayOverrides(activation=0))
    assert for_chain(MAINNET, DEPLOYER, overrides).delays.activation == 0


def test_for_chain__threshold_not_given__all_watchers_must_sign() -> None:
    config = for_chain(LOCAL, DEPLOYER, Overrides(watchers=WatcherOverrides(members=[TWO, ONE])))
    assert (config.watchers, config.threshold) == ((ONE, TWO), 2)


def test_for_chain__watchers__are_sorted_by_number_not_by_text() -> None:
    # As text the checksum form "0xA.." comes before "0xa..", and before or after digits by chance.
    members = ["0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa", "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"]
    config = for_chain(LOCAL, DEPLOYER, Overrides(watchers=WatcherOverrides(members=members[::-1])))
    assert config.watchers == tuple(members)


@pytest.mark.parametrize(
    ("chain_id", "kind"),
    [
        (31337, ChainKind.LOCAL),
        (1337, ChainKind.LOCAL),
        (SEPOLIA, ChainKind.TEST),
        (84532, ChainKind.TEST),
        (MAINNET, ChainKind.LIVE),
        (UNHEARD_OF, ChainKind.LIVE),
    ],
)
def test_kind_of__chain__unknown_ones_count_as_live(chain_id: int, kind: ChainKind) -> None:
    assert kind_of(chain_id) is kind
