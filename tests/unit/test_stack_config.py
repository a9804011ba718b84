"""Settings that a local stack writes are settings that its nodes read."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.stack import running
from demo.stack_config import Layout, Options, deploy_tables, node_tables, provider_tables, render
from oracle.settings import Role, Settings
from scrip.deploying.config import Overrides
from scrip.errors import BadInput

PROVIDER = "0x" + "11" * 20
WATCHERS = ("http://127.0.0.1:2001", "http://127.0.0.1:2002")
RPC, URL = "http://127.0.0.1:8545", "http://127.0.0.1:2000"


def _load(tmp_path: Path, options: Options, *, provider: bool) -> Settings:
    layout = Layout(tmp_path)
    tables = node_tables(options, layout, RPC, "node", "oracle", URL)
    if provider:
        tables = provider_tables(options, tables, PROVIDER, WATCHERS)
    path = tmp_path / "node.toml"
    path.write_text(render(tables))
    return Settings.load(path, {})


def test_running__run_dir_in_use__refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(BadInput, match="missing or empty"), running(Options(run_dir=tmp_path)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_render__watcher__read_by_settings(tmp_path: Path) -> None:
    settings = _load(tmp_path, Options(), provider=False)
    assert (settings.role, settings.dry, settings.provider) == (Role.WATCHER, False, None)
    assert (settings.chain.rpc_url, settings.chain.chain_id) == (RPC, 31337)
    assert (settings.api.port, settings.api.public_url) == (2000, URL)
    assert settings.key.keystore == tmp_path / "keys" / "oracle.json"


def test_render__provider_without_gpu__simulated_and_knows_its_watchers(tmp_path: Path) -> None:
    settings = _load(tmp_path, Options(), provider=True)
    assert settings.role is Role.PROVIDER
    assert settings.quorum.watchers == WATCHERS
    assert settings.of_provider().address == PROVIDER
    assert settings.of_provider().simulated_gpu


def test_render__provider_with_gpus__not_simulated(tmp_path: Path) -> None:
    provider = _load(tmp_path, Options(gpus=("GPU-1", "GPU-2")), provider=True).of_provider()
    assert (provider.gpus, provider.simulated_gpu) == (("GPU-1", "GPU-2"), False)


@pytest.mark.parametrize("watchers", [(), (PROVIDER,)])
def test_render__deployment__read_by_deploy(tmp_path: Path, watchers: tuple[str, ...]) -> None:
    path = tmp_path / "deploy.toml"
    path.write_text(render(deploy_tables(PROVIDER, watchers, len(watchers))))
    overrides = Overrides.read(path)
    assert overrides.roles.issuers == [PROVIDER]
    assert tuple(overrides.watchers.members) == watchers


def test_names__more_providers__accounts_and_nodes_of_their_own() -> None:
    options = Options(more_providers=2)
    assert options.more_names == (("provider-2", "oracle-2"), ("provider-3", "oracle-3"))
    assert set(options.account_names) - set(Options().account_names) == {
        name for names in options.more_names for name in names
    }


def test_render__provider_without_gpu_class__serves_cpu_only(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    tables = node_tables(Options(), layout, RPC, "provider-2", "oracle-2", URL)
    (tmp_path / "node.toml").write_text(
        render(provider_tables(Options(), tables, PROVIDER, WATCHERS, gpus=False))
    )
    provider = Settings.load(tmp_path / "node.toml", {}).of_provider()
    assert (provider.gpu_sku, provider.gpus, provider.simulated_gpu) == ("", (), False)
