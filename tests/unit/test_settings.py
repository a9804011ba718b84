"""Settings: everything wrong is said at once, variables replace the file, unsafe combinations are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from oracle.settings import Role, Settings, SettingsProblem

ADDRESS = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
PROVIDER = f"""
role = "provider"
state_dir = "state"
[chain]
rpc_url = "http://127.0.0.1:8545"
chain_id = 31337
[provider]
address = "{ADDRESS}"
"""
WATCHER = PROVIDER.replace("provider", "watcher", 1).partition("[provider]")[0]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "oracle.toml"
    path.write_text(text)
    return path


def problems(path: Path | None, env: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsProblem) as caught:
        Settings.load(path, env or {})
    return caught.value.problems


def test_load__nothing_given__names_every_missing_value_at_once() -> None:
    found = problems(None)
    assert any(item.startswith("role: missing") and "SCRIP_ROLE" in item for item in found)
    assert any(item.startswith("state_dir: missing") for item in found)
    assert any(item.startswith("chain: missing") for item in found)


def test_load__many_wrong_values__are_reported_together(tmp_path: Path) -> None:
    text = (
        PROVIDER.replace("31337", '"many"').replace("http://", "ftp://")
        + "slots = 0\nspeed = 3\nsimulated_gpu = true"
    )
    found = "\n".join(problems(write(tmp_path, text)))
    for expected in (
        "chain.chain_id",
        "chain.rpc_url: must be an http",
        "provider.slots",
        "provider.speed: unknown",
    ):
        assert expected in found
    assert "simulated metering is for local chains" in found


def test_load__provider_without_address__says_so(tmp_path: Path) -> None:
    found = problems(write(tmp_path, PROVIDER.partition("[provider]")[0]))
    assert found == (
        "provider.address: missing, a provider needs it in the file or as SCRIP_PROVIDER_ADDRESS",
    )


def test_load__mistyped_address__is_refused(tmp_path: Path) -> None:
    [found] = problems(write(tmp_path, PROVIDER.replace("3C44Cd", "3C44cd")))
    assert found.startswith("provider.address: must be an address")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ('keystore = "k.json"', "given neither"),
        (
            'keystore = "k.json"\npassword_file = "p"\npassword_env = "P"',
            "given password_file and password_env",
        ),
        ('password_file = "p"', "key.keystore: missing"),
    ],
)
def test_load__key_without_one_password__is_refused(tmp_path: Path, key: str, expected: str) -> None:
    assert expected in "\n".join(problems(write(tmp_path, f"{PROVIDER}[key]\n{key}\n")))


def test_load__simulated_gpu_off_local_chains__is_refused(tmp_path: Path) -> None:
    text = PROVIDER.replace("31337", "11155111") + "simulated_gpu = true\n"
    [found] = problems(write(tmp_path, text))
    assert "refused on chain 11155111" in found


def test_load__simulated_gpu_by_variable_off_local_chains__is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, PROVIDER.replace("31337", "11155111"))
    assert "simulated_gpu" in problems(path, {"SCRIP_PROVIDER_SIMULATED_GPU": "true"})[0]


def test_load__not_toml_and_missing_file__are_named(tmp_path: Path) -> None:
    assert "not TOML" in problems(write(tmp_path, "role ="))[0]
    assert "No such file" in problems(tmp_path / "none.toml")[0]


def test_load__given_file__paths_are_relative_to_it(tmp_path: Path) -> None:
    settings = Settings.load(write(tmp_path, PROVIDER), {})
    assert settings.state_dir == tmp_path / "state"
    assert settings.chain.deployment == tmp_path / "deployments"
    assert settings.database_url == f"sqlite:///{tmp_path / 'state' / 'oracle.db'}"
    assert settings.role is Role.PROVIDER
    assert settings.dry


def test_load__variables__replace_the_file(tmp_path: Path) -> None:
    env = {
        "SCRIP_CHAIN_RPC_URL": "http://node.test:1",
        "SCRIP_PROVIDER_SLOTS": "7",
        "SCRIP_PROVIDER_GPUS": "GPU-1, GPU-2",
        "SCRIP_QUORUM_WATCHERS": "http://w1.test,http://w2.test/",
        "SCRIP_KEY_PASSWORD": "not a setting",
    }
    settings = Settings.load(write(tmp_path, PROVIDER), env)
    assert settings.chain.rpc_url == "http://node.test:1"
    assert settings.of_provider().slots == 7
    assert settings.of_provider().gpus == ("GPU-1", "GPU-2")
    assert settings.quorum.watchers == ("http://w1.test", "http://w2.test")


def test_load__variables_alone__are_enough(tmp_path: Path) -> None:
    env = {
        "SCRIP_ROLE": "watcher",
        "SCRIP_STATE_DIR": str(tmp_path),
        "SCRIP_CHAIN_RPC_URL": "http://127.0.0.1:8545",
        "SCRIP_CHAIN_CHAIN_ID": "1337",
    }
    assert Settings.load(None, env).chain.is_local


def test_watcher__has_no_provider_section(tmp_path: Path) -> None:
    settings = Settings.load(write(tmp_path, WATCHER), {})
    with pytest.raises(SettingsProblem, match="this node is a watcher"):
        settings.of_provider()


@pytest.mark.parametrize(("chain_id", "depth"), [("31337", 0), ("1", None)])
def test_depth__default__is_the_head_on_local_chains_only(
    tmp_path: Path, chain_id: str, depth: int | None
) -> None:
    assert Settings.load(write(tmp_path, PROVIDER.replace("31337", chain_id)), {}).chain.depth == depth


def test_extra_local_chains__count_as_local(tmp_path: Path) -> None:
    text = PROVIDER.replace("31337", "777\nextra_local_chains = [777]") + "simulated_gpu = true\n"
    assert Settings.load(write(tmp_path, text), {}).chain.is_local


def test_settings__once_built__cannot_be_changed(tmp_path: Path) -> None:
    settings = Settings.load(write(tmp_path, PROVIDER), {})
    with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
        settings.poll_ms = 1  # type: ignore[misc]


def test_problems__never_show_what_was_given_in_a_url(tmp_path: Path) -> None:
    text = PROVIDER.replace("http://127.0.0.1:8545", "wss://node.test/v2/SECRETKEY")
    assert "SECRETKEY" not in "\n".join(problems(write(tmp_path, text)))


def test_shared_gpus__sku_that_does_not_say_so__is_refused(tmp_path: Path) -> None:
    text = PROVIDER + 'gpu_tenants = 2\ngpu_sku = "nvidia-h100-80gb"\n'
    assert problems(write(tmp_path, text)) == ('provider.gpu_sku: must end in "-shared-2", gpu_tenants is 2',)
    fitting = text.replace("80gb", "80gb-shared-2")
    whole = fitting.replace("gpu_tenants = 2\n", "")
    assert problems(write(tmp_path, whole)) == ("provider.gpu_sku: must not name a share, gpu_tenants is 1",)
    assert Settings.load(write(tmp_path, fitting), {}).of_provider().gpu_tenants == 2
