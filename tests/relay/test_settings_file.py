"""Where settings are read: file, environment, and what is no setting."""

import os
from pathlib import Path

import pytest

from penstock_relay import settings_file
from penstock_relay.address import Address
from penstock_relay.config import ConfigError
from penstock_relay.settings_file import load


@pytest.fixture(autouse=True)
def default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is read unasked, which does not exist yet. Nothing of this machine is read."""
    for name in os.environ:
        if name.startswith("PENSTOCK_RELAY_"):
            monkeypatch.delenv(name)
    path = tmp_path / "etc" / "relay.toml"
    monkeypatch.setattr(settings_file, "DEFAULT_CONFIG", path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def test_the_file_is_read_and_the_environment_overrides_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('listen = "127.0.0.1:1"\nops_listen = "127.0.0.1:2"\nlog_level = "debug"\n')
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "[::1]:0")
    settings = load(file)
    assert settings.listen == Address("::1", 0)
    assert settings.ops_listen == Address("127.0.0.1", 2)
    assert settings.log_level == "debug"


def test_the_environment_can_name_the_file_and_the_option_wins(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('state_dir = "/one"\n')
    monkeypatch.setenv("PENSTOCK_RELAY_CONFIG", str(file))
    assert load().state_dir == Path("/one")
    other = tmp_path / "other.toml"
    other.write_text('state_dir = "/two"\n')
    assert load(other).state_dir == Path("/two")


def test_the_default_file_is_read_when_it_is_there_and_no_other_is_named(
    file: Path, default_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_file.parent.mkdir()
    default_file.write_text('state_dir = "/default"\n')
    assert load().state_dir == Path("/default")
    file.write_text('state_dir = "/named"\n')
    assert load(file).state_dir == Path("/named")
    monkeypatch.setenv("PENSTOCK_RELAY_CONFIG", str(file))
    assert load().state_dir == Path("/named")
    monkeypatch.setenv("PENSTOCK_RELAY_CONFIG", str(file.with_name("none.toml")))
    with pytest.raises(ConfigError, match=r"none.toml: No such file"):
        load()


def test_a_default_file_that_is_there_counts_even_if_it_is_wrong_or_unreadable(
    default_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_file.parent.mkdir()
    default_file.write_text("listen = \n")
    with pytest.raises(ConfigError, match=r"etc/relay.toml is not TOML"):
        load()

    def refuse(*_args: object, **_kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied\. Run as root or as the relay's user"):
        load()


def test_an_unknown_key_is_refused_and_the_near_one_named(file: Path) -> None:
    file.write_text('public_ulr = "https://x.example"\n')
    with pytest.raises(
        ConfigError, match=r"relay.toml: public_ulr is not a setting .* did you mean public_url\?"
    ):
        load(file)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_ULR", "https://x.example")
    with pytest.raises(ConfigError, match="PENSTOCK_RELAY_PUBLIC_ULR is not a setting"):
        load()


@pytest.mark.parametrize(
    "name",
    [
        "PENSTOCK_RELAY_SERVICE_HOST",
        "PENSTOCK_RELAY_SERVICE_PORT",
        "PENSTOCK_RELAY_SERVICE_PORT_HTTP",
        "PENSTOCK_RELAY_PORT",
        "PENSTOCK_RELAY_PORT_8080_TCP",
        "PENSTOCK_RELAY_PORT_8080_TCP_ADDR",
        "PENSTOCK_RELAY_TUNNEL_SERVICE_HOST",
        "PENSTOCK_RELAY_TUNNEL_PORT_8443_TCP_PROTO",
    ],
)
def test_the_variables_that_kubernetes_makes_for_our_service_are_no_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8080")
    assert load().listen.port == 8080


@pytest.mark.parametrize("key", ["console_listen", "nats_url", "tls_cert", "tls_key"])
def test_a_setting_that_is_not_enforced_is_refused_in_a_sentence(
    key: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f'{key} = "x"\n')
    with pytest.raises(ConfigError, match=rf"{key} is not enforced by this version\. [A-Z].*\."):
        load(file)
    monkeypatch.setenv(f"PENSTOCK_RELAY_{key.upper()}", "x")
    with pytest.raises(ConfigError, match=f"PENSTOCK_RELAY_{key.upper()} is not enforced"):
        load()


def test_a_file_that_is_missing_or_no_toml_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read the configuration .*relay.toml: No such file"):
        load(file)
    file.write_text("listen = \n")
    with pytest.raises(ConfigError, match=r"relay.toml is not TOML"):
        load(file)
