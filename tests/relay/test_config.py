"""Settings: what is accepted, what is refused, and in which words."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from penstock_relay import settings_file
from penstock_relay.address import Address
from penstock_relay.config import ConfigError, Settings
from penstock_relay.oauth.organisation import Lives, Organisation
from penstock_relay.settings_file import load
from tests.harness.certs import Authority


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


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load()
    assert str(settings.listen) == "127.0.0.1:8080"
    assert str(settings.tunnel_listen) == "0.0.0.0:8443"
    assert str(settings.ops_listen) == "127.0.0.1:9090"
    assert settings.state_dir == Path("/var/lib/penstock-relay")
    assert settings.database == "sqlite+aiosqlite:////var/lib/penstock-relay/relay.db"
    assert settings.public_url is None
    assert settings.tunnel_url is None


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.listen = Address("127.0.0.1", 9)


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://MCP.Example.com", "https://mcp.example.com"),
        ("https://mcp.example.com/", "https://mcp.example.com"),
        ("https://mcp.example.com:443", "https://mcp.example.com"),
        ("https://mcp.example.com:8443", "https://mcp.example.com:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_public_url_is_kept_as_an_origin_in_normal_form(
    given: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_URL", given)
    assert load().public_url == kept


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://mcp.example.com/penstock", "origin only"),
        ("https://mcp.example.com?x=1", "origin only"),
        ("https://mcp.example.com#x", "origin only"),
        ("http://mcp.example.com", "tokens in clear"),
        ("wss://mcp.example.com", "not an https:// URL"),
        ("mcp.example.com", "not a URL"),
        ("https://", "not a URL"),
        ("https://mcp.example.com:0", "not a URL"),
        ("https://mcp.example.com:99999", "not a URL"),
        ("https://mcp_example.com", "neither a host name nor an address"),
        ("https://exämple.com", "neither a host name nor an address"),
    ],
)
def test_a_public_url_that_is_no_origin_is_refused(
    given: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_URL", given)
    with pytest.raises(ConfigError, match=rf"^public_url: .*{why}"):
        load()


def test_a_url_with_a_password_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_URL", "https://user:canary@mcp.example.com")
    with pytest.raises(ConfigError) as refused:
        load()
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("wss://relay.example.com", "wss://relay.example.com:443"),
        ("wss://Relay.example.com:8443/", "wss://relay.example.com:8443"),
        ("wss://[::1]:8443", "wss://[::1]:8443"),
    ],
)
def test_tunnel_url_is_kept_with_its_port(given: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_URL", given)
    assert load().tunnel_url == kept


def test_a_tunnel_url_without_tls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_URL", "ws://127.0.0.1:8443")
    with pytest.raises(ConfigError, match=r"tunnel_url: .* always use TLS"):
        load()


@pytest.mark.parametrize(
    "given", ["8080", ":8080", "127.0.0.1", "127.0.0.1:65536", "::1:8080", "a b:1", "[::1:1"]
)
def test_an_address_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", given)
    with pytest.raises(ConfigError, match=r"^listen: "):
        load()


def test_an_address_that_is_not_text_is_refused_in_words(file: Path) -> None:
    file.write_text("listen = 8080\n")
    with pytest.raises(ConfigError, match='listen: write it as text: "host:port"'):
        load(file)


def test_every_problem_is_named_at_once(file: Path) -> None:
    file.write_text('listen = "x"\nlog_level = "loud"\n')
    with pytest.raises(ConfigError, match=r"listen: .*; log_level: "):
        load(file)


def test_the_store_can_be_another_sqlite_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_DATABASE_URL", "sqlite:////srv/penstock/relay.db")
    assert load().database == "sqlite+aiosqlite:////srv/penstock/relay.db"


@pytest.mark.parametrize("url", ["postgresql://u:canary@db/x", "sqlite://", "sqlite:///relative.db", "x"])
def test_another_store_is_refused_without_repeating_its_url(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_DATABASE_URL", url)
    with pytest.raises(ConfigError, match=r"^database_url: ") as refused:
        load()
    assert "canary" not in str(refused.value)


def test_unset_urls_follow_loopback_listeners_at_their_real_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_LISTEN", "[::1]:0")
    settings = load()
    settings.check()
    urls = settings.urls(Address("127.0.0.1", 4711), Address("::1", 4712))
    assert urls == ("http://127.0.0.1:4711", "wss://[::1]:4712")


def test_set_urls_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "0.0.0.0:8080")
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_URL", "https://mcp.example.com")
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_URL", "wss://relay.example.com")
    settings = load()
    settings.check()
    urls = settings.urls(Address("0.0.0.0", 1), Address("0.0.0.0", 2))
    assert urls == ("https://mcp.example.com", "wss://relay.example.com:443")


def test_unset_urls_of_other_listeners_are_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"tunnel_url is not set .*wss://relay.example.com:443\.$"):
        load().check()
    monkeypatch.setenv("PENSTOCK_RELAY_LISTEN", "0.0.0.0:8080")
    with pytest.raises(ConfigError, match=r"public_url is not set .*https://mcp.example.com\.$"):
        load().check()


# -- people and organisations


def refused(text: str, file: Path) -> str:
    file.write_text(TUNNEL + text)
    with pytest.raises(ConfigError) as caught:
        load(file).check()
    return str(caught.value)


TUNNEL = 'tunnel_url = "wss://relay.example.com:443"\n'
UPSTREAM = '[upstream]\nissuer = "https://sso.example"\nclient_id = "relay"\n'


def test_an_identity_provider_is_a_table(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    file.write_text(
        f'{TUNNEL}local_accounts = false\nadmin_groups = ["ops"]\n{UPSTREAM}client_secret_file = "{secret}"\n'
    )
    settings = load(file)
    settings.check()
    assert settings.upstream is not None
    assert settings.upstream.issuer == "https://sso.example"
    assert (settings.admin_groups, settings.upstream_secret()) == (("ops",), "s3cret")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("local_accounts = false\n", "nobody could log in"),
        (f"oauth = false\n{UPSTREAM}", "oauth = false forbids"),
        (f'{UPSTREAM}client_secret_file = "/nowhere/secret"\n', "client_secret_file cannot be read: No such"),
        (f'{UPSTREAM}client_secret = "inline"\n', "upstream.client_secret"),
        ('second_factor = "always"\n', "second_factor"),
        (
            f'second_factor = "required"\nlocal_accounts = false\n{UPSTREAM}',
            "local_accounts = false leaves none",
        ),
        ('second_factor = "required"\noauth = false\n', "oauth = false leaves none"),
        ('admin_groups = [" ops"]\n', "admin_groups.0"),
        ('allowed_clients = ["https://*.example/x"]\n', "allowed_clients.0"),
        ('access_life = "1 hour"\n', "access_life"),
        ('access_life = "31d"\n', "access_life (31d)"),
        ('access_life = "25h"\n', "24h"),
        ('max_grant_life = "29d"\n', "max_grant_life (29d)"),
    ],
)
def test_what_contradicts_itself_or_could_not_be_enforced(text: str, words: str, file: Path) -> None:
    assert words in refused(text, file)


def test_an_organisation_is_what_its_settings_say(file: Path) -> None:
    file.write_text(
        TUNNEL + 'allowed_clients = ["claude.ai", "*.openai.com"]\naccess_life = "10m"\nrefresh_idle = "2h"\n'
        'max_grant_life = "7d"\nlater_tools = false\nsecond_factor = "required"\n'
    )
    settings = load(file)
    settings.check()
    found = settings.organisation
    assert found == Organisation(
        ("claude.ai", "*.openai.com"),
        Lives(600, 7200, 604_800),
        later_tools=False,
        second_factor="required",
    )
    assert load().organisation == Organisation(None, Lives(3600, 30 * 86_400, 180 * 86_400), later_tools=True)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.0.0.0/8, fd00::/8 ,127.0.0.1", ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"]),
        ("none", []),
        ("", None),
        (" ", None),
    ],
)
def test_trusted_proxies_are_networks(
    given: str, kept: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().trusted_proxies is None  # unset, which is not the same as none
    monkeypatch.setenv("PENSTOCK_RELAY_TRUSTED_PROXIES", given)
    settings = load()
    assert settings.model_dump(mode="json")["trusted_proxies"] == kept


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ('["10.0.0.0/8", "x"]', "'x' is not a network"),
        ('["10.0.0.1/8"]', "is not a network"),
        ("[7]", "as text"),
        ('["0.0.0.0/0"]', "is everybody"),
        ('["::/0"]', "is everybody"),
    ],
)
def test_a_trusted_proxy_that_is_none_is_refused(file: Path, given: str, why: str) -> None:
    file.write_text(f"trusted_proxies = {given}\n")
    with pytest.raises(ConfigError, match=rf"^trusted_proxies: .*{why}"):
        load(file)


LOCAL = 'tunnel_listen = "127.0.0.1:0"\n'


def test_callers_are_restricted_to_networks_vendors_and_files(file: Path, tmp_path: Path) -> None:
    listed = tmp_path / "mine.txt"
    listed.write_text("192.0.2.0/24\n")
    file.write_text(
        f'{LOCAL}trusted_proxies = ["127.0.0.0/8"]\n'
        f'[callers]\negress = ["anthropic", "203.0.113.0/24", "file:{listed}"]\n'
    )
    settings = load(file)
    settings.check()
    found = list(map(str, settings.caller_networks() or ()))
    assert found == ["160.79.104.0/21", "203.0.113.0/24", "192.0.2.0/24"]
    listed.unlink()
    with pytest.raises(ConfigError, match=r"^callers\.egress: cannot read .*mine\.txt: No such file"):
        settings.check()


def test_callers_can_be_given_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().caller_networks() is None
    monkeypatch.setenv("PENSTOCK_RELAY_CALLERS", '{"egress": ["anthropic"]}')
    assert load().callers is not None
    monkeypatch.setenv("PENSTOCK_RELAY_CALLERS", "anthropic")
    with pytest.raises(ConfigError, match=r"^callers: Input should be a valid dictionary"):
        load()


def test_callers_are_not_restricted_where_nobody_knows_their_address(file: Path) -> None:
    restricted = '[callers]\negress = ["anthropic"]\n'
    file.write_text(LOCAL + restricted)
    with pytest.raises(ConfigError, match=r"callers needs trusted_proxies.*or to \[\] if"):
        load(file).check()
    file.write_text(f"{LOCAL}trusted_proxies = []\n{restricted}")
    load(file).check()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ('egress = ["openai"]', "https://openai.com/chatgpt-connectors.json"),
        ('egress = ["mistral"]', "nor one of: anthropic"),
        ('egress = ["file:relative"]', "absolute path"),
        ('egress = ["10.0.0.1/8"]', "is not a network"),
        ('egress = ["0.0.0.0/0"]', "is everybody"),
        ("egress = []", "nobody could call"),
        ("", "nobody could call"),
        ('client_names = ["a.example"]', "belong together"),
        ('egress = ["anthropic"]\nclient_ca_file = "/x"', "belong together"),
        ('egress = ["anthropic"]\nclient_header = "a b"', "client_header: .*pattern"),
        ('egress = ["anthropic"]\nextra = 1', "not permitted"),
    ],
)
def test_a_restriction_of_callers_that_is_none_is_refused(file: Path, given: str, why: str) -> None:
    file.write_text(f"[callers]\n{given}\n")
    with pytest.raises(ConfigError, match=why):
        load(file)


def test_callers_may_be_known_by_a_certificate_that_their_proxy_has_seen(file: Path, tmp_path: Path) -> None:
    anchor = tmp_path / "ca.pem"
    wanted = f'[callers]\nclient_ca_file = "{anchor}"\nclient_names = ["a.example"]\n'
    file.write_text(f'{LOCAL}trusted_proxies = ["10.0.0.0/8"]\n{wanted}')
    with pytest.raises(ConfigError, match=r"callers\.client_ca_file: cannot read .*: No such file"):
        load(file).check()
    anchor.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"callers\.client_ca_file: .*ca\.pem holds no certificates"):
        load(file).check()
    anchor.write_bytes(Authority(tmp_path).ca.read_bytes())
    load(file).check()
    assert len(load(file).caller_anchors()) == 1
    assert load(file).caller_networks() == ()
    file.write_text(f"{LOCAL}trusted_proxies = []\n{wanted}")
    with pytest.raises(ConfigError, match="what a proxy says it is"):
        load(file).check()


# -- issuers outside

TABLE = """
[[issuers]]
url = "https://login.example.com"
audience = "https://mcp.example.com"
[issuers.introspection]
url = "https://login.example.com/introspect"
client_id = "relay"
client_secret_file = "{secret}"
"""


def test_issuers_are_tables_of_the_file_or_json_in_the_environment(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(TABLE.format(secret=tmp_path / "secret"))
    (table,) = load(file).issuers
    assert (table.url, table.audience) == ("https://login.example.com", ("https://mcp.example.com",))
    monkeypatch.setenv("PENSTOCK_RELAY_ISSUERS", '[{"url": "https://other.example.com"}]')
    (table,) = load(file).issuers
    assert table.url == "https://other.example.com"


def test_an_issuer_that_cannot_be_meant_is_refused_in_words(file: Path) -> None:
    file.write_text('[[issuers]]\nurl = "https://a.example"\nalgorithms = ["none"]\n')
    with pytest.raises(ConfigError, match=r"issuers\.0\.algorithms: algorithms are some of RS256"):
        load(file)


def test_a_secret_that_cannot_be_read_stops_the_relay_before_it_starts(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    file.write_text('tunnel_url = "wss://t.example.com:443"\n' + TABLE.format(secret=secret))
    with pytest.raises(ConfigError, match=r"secret cannot be read: No such file"):
        load(file).check()
    secret.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        load(file).check()
    secret.write_text("s3cret\n")
    load(file).check()
    assert load(file).introspection()["https://login.example.com"].secret == "s3cret"
    assert "s3cret" not in repr(load(file))


@pytest.mark.parametrize(
    ("given", "missing"), [("ca_cert_file", "ca_key_file"), ("ca_key_file", "ca_cert_file")]
)
def test_certificate_and_key_of_a_ca_belong_together(given: str, missing: str, file: Path) -> None:
    file.write_text(f'{given} = "/x.pem"\n')
    with pytest.raises(ConfigError, match=rf"^{missing} is not set; .*set both$"):
        load(file)
    file.write_text('ca_cert_file = "/x.pem"\nca_key_file = "/x.key"\n')
    settings = load(file)
    assert (settings.ca_cert_file, settings.ca_key_file) == (Path("/x.pem"), Path("/x.key"))


def test_secrets_are_named_by_their_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().master_key_file is None
    monkeypatch.setenv("PENSTOCK_RELAY_MASTER_KEY_FILE", "/run/credentials/master.key")
    assert load().master_key_file == Path("/run/credentials/master.key")
