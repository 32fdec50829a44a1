from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.config import Options, Settings
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.settings_file import ConfigError
from penstock_agent.site.names import Target
from penstock_agent.site.settings import SiteSettings
from penstock_agent.tolerance import Tolerance

SERVER = '[servers.files]\ncommand = ["prog"]\n'


def parse(text: str, env: dict[str, str] | None = None, options: Options | None = None) -> Settings:
    return config.parse(text, Path("/etc/agent.toml"), options or Options(), env or {})


def refusal(text: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, env)
    assert caught.value.status == 2
    return str(caught.value)


def test_defaults() -> None:
    settings = parse("")
    assert settings.max_children == 64
    assert settings.call_timeout == 120.0
    assert settings.state_dir == settings.runtime_dir == Path("/var/lib/penstock-agent")
    assert (settings.proxy, settings.ca_file, dict(settings.servers)) == (None, None, {})
    assert settings.sources["max_children"] == "default"


def test_clients_are_forgiven_what_the_file_does_not_switch_off() -> None:
    assert parse("").tolerance == Tolerance()
    assert all(Tolerance().model_dump().values())
    settings = parse("[tolerance]\nsessionless = false\n")
    assert settings.tolerance == Tolerance(sessionless=False)
    assert settings.tolerance.revive_sessions


def test_the_ledger_is_kept_as_the_file_says() -> None:
    assert parse("").ledger == LedgerSettings()
    assert parse('[ledger]\nkeep_days = 30\nmax_size = "1 GiB"\n').ledger.max_size == 1 << 30
    wrong = (
        ("keep = 1", "unknown key"),
        ('max_size = "1 KiB"', "256.0 MiB"),
        ('sync = "no"', "sync"),
    )
    for text, why in wrong:
        with pytest.raises(ConfigError, match=why):
            parse(f"[ledger]\n{text}\n")


def test_a_server_is_read_whole() -> None:
    server = parse(
        '[servers.files]\ncommand = ["prog", "/srv"]\nenv = { LANG = "C" }\n'
        'expose = ["read_*", "resource:file:///srv/**"]\nnetwork = "host"\nisolation = "process"\n'
    ).server("files")
    assert server.command == ("prog", "/srv")
    assert server.env == {"LANG": "C"}
    assert server.expose == ("read_*", "resource:file:///srv/**")


def test_a_server_has_no_network_and_the_best_isolation_unless_it_says_otherwise() -> None:
    server = parse(SERVER).server("files")
    assert (server.network, server.isolation, server.expose) == ("none", None, ())
    assert (server.read, server.write) == ((), ())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('effect = { "a" = "read_only" }', "does not enforce it"),
        ('network = ["host:1"]', "Names cannot be enforced"),
        ('isolation = "jail"', "should be"),
    ],
)
def test_what_this_version_does_not_enforce_is_refused(line: str, words: str) -> None:
    text = refusal(SERVER + line)
    key = line.split()[0]
    assert f"/etc/agent.toml: servers.files.{key}: " in text
    assert words in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_childs = 3", "/etc/agent.toml: max_childs: unknown key. Known here: state_dir"),
        (SERVER + "comand = []", "servers.files.comand: unknown key. Known here: command, image, env, url, "),
        ("[servers.files]\n", "servers.files: names no server; write command = "),
        ("[servers.files]\ncommand = []", "servers.files.command: names no program"),
        ('[servers.files]\ncommand = "prog /srv"', "servers.files.command: should be a list"),
        ("[servers.files]\ncommand = [1]", "servers.files.command.0: should be a string"),
        ('[servers.Files]\ncommand = ["p"]', "servers.Files: The server name"),
        ('[servers.oauth]\ncommand = ["p"]', "servers.oauth: "),
        (SERVER + 'env = { "A=B" = "x" }', "is not a name of an environment variable"),
        (SERVER + "env = { A = 1 }", "servers.files.env.A: should be a string"),
        (SERVER + 'expose = ["tools:x"]', "servers.files.expose.0: starts with no known kind"),
        (
            SERVER + "[servers.files.limits]\nmem = 1",
            "limits.mem: unknown key. Known here: memory, processes",
        ),
        ("max_children = 0", "max_children: should be greater than or equal to 1"),
        ("max_children = true", "max_children: must be a number"),
        ("call_timeout = 0.5", "call_timeout: should be greater than or equal to 1"),
        ('log_level = "loud"', "log_level: should be 'debug', 'info', 'warning' or 'error'"),
        ('state_dir = "relative"', "state_dir: must be an absolute path"),
        ('proxy = "socks5://p:1"', "proxy: socks5:// proxies are not supported"),
        ("x = ", "/etc/agent.toml: not valid TOML: "),
        ("servers = 3", "servers: should be a table"),
        ("[servers]\nfiles = 3", "servers.files: should be a table"),
        ("close_stream_after = -1", "close_stream_after: should be greater than or equal to 0"),
        (SERVER + "[[servers.files.redact]]\n", "servers.files.redact.0: looks for nothing; write find = "),
        (
            SERVER + '[[servers.files.redact]]\nfind = ["cvv"]',
            "redact.0.find.0: is nothing that can be found",
        ),
        (
            SERVER + "[[servers.files.redact]]\nfinds = []",
            "redact.0.finds: unknown key. Known here: tools, find",
        ),
        (
            SERVER + "[[servers.files.redact]]\npatterns.x = '('",
            "redact.0.patterns: x: is no regular expression",
        ),
        ("[tolerance]\nsesionless = true", "tolerance.sesionless: unknown key. Known here: sessionless"),
        ("[tolerance]\nsessionless = 1", "tolerance.sessionless: should be a valid boolean"),
    ],
)
def test_refusals_name_file_key_and_what_is_allowed(text: str, words: str) -> None:
    refused = refusal(text)
    assert words in refused
    assert "/etc/agent.toml" in refused


def test_all_reasons_come_at_once() -> None:
    text = refusal('max_children = 0\nfoo = 1\n[servers.a]\ncommand = ["p"]\neffect = {}\n')
    assert len(text.splitlines()) == 3


def test_a_refusal_never_repeats_a_secret() -> None:
    assert "hunter2" not in refusal(SERVER + 'env = { TOKEN = ["hunter2"] }')
    assert "hunter2" not in refusal('proxy = "socks5://me:hunter2@p:1"')


def test_a_secret_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(parse('proxy = "http://me:hunter2@p:1"'))


def test_environment_overrides_the_file_and_is_named_as_source() -> None:
    settings = parse("max_children = 3", {"PENSTOCK_AGENT_MAX_CHILDREN": "5", "PENSTOCK_AGENT_CONFIG": "/x"})
    assert settings.max_children == 5
    assert settings.sources["max_children"] == "PENSTOCK_AGENT_MAX_CHILDREN"


def test_a_bad_variable_is_named() -> None:
    assert refusal("", {"PENSTOCK_AGENT_MAX_CHILDREN": "many"}).startswith("PENSTOCK_AGENT_MAX_CHILDREN: ")


def test_unknown_variables_are_refused() -> None:
    assert "PENSTOCK_AGENT_STATEDIR is unknown" in refusal("", {"PENSTOCK_AGENT_STATEDIR": "/x"})


def test_the_command_line_overrides_everything() -> None:
    settings = parse('state_dir = "/a"', {"PENSTOCK_AGENT_STATE_DIR": "/b"}, Options(state_dir=Path("/c")))
    assert settings.state_dir == Path("/c")
    assert settings.sources["state_dir"] == "--state-dir"


def test_runtime_folder_is_the_units_else_the_state_folder() -> None:
    assert parse("", {"RUNTIME_DIRECTORY": "/run/penstock-agent:/run/b"}).runtime_dir == Path(
        "/run/penstock-agent"
    )
    env = {"RUNTIME_DIRECTORY": "/run/a", "PENSTOCK_AGENT_RUNTIME_DIR": "/run/b"}
    assert parse("", env).runtime_dir == Path("/run/b")
    assert parse('state_dir = "/s"').runtime_dir == Path("/s")


def test_an_unknown_server_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no server named 'crm' \(configured: files\)"):
        parse(SERVER).server("crm")


# -- the file itself


def test_a_missing_default_file_means_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_CONFIG", tmp_path / "agent.toml")
    assert dict(config.load(Options(), {}).servers) == {}


def test_reload_reads_the_same_place_again(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(SERVER)
    path.chmod(0o600)
    settings = config.load(Options(config=path, state_dir=tmp_path))
    path.write_text(SERVER + 'expose = ["a"]\n')
    changed = settings.reload()
    assert changed.server("files").expose == ("a",)
    assert changed.state_dir == tmp_path


CALLER = '[caller]\nissuer = "https://login.example"\naudience = "relay"\n'
KEYS = 'keys_file = "/etc/keys.json"\n'


def test_a_site_can_believe_its_own_provider_only() -> None:
    settings = parse(CALLER + KEYS + 'max_life = "12h"\n' + SERVER + 'trust = "caller"\n')
    assert settings.server("files").trust == "caller"
    assert settings.caller is not None
    assert settings.caller.max_life_s == 12 * 3600
    assert parse(SERVER).server("files").trust == "relay"
    assert parse(SERVER).caller is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SERVER + 'trust = "caller"\n', 'servers.files.trust: "caller" needs to know whose word counts'),
        (SERVER + 'trust = "blind"\n', "servers.files.trust"),
        (CALLER, "keys_file or keys_url"),
        (CALLER + KEYS + 'keys_url = "https://login.example/keys"\n', "from one place"),
        (CALLER + 'keys_url = "http://login.example/keys"\n', "must be an https URL"),
        (CALLER + 'keys_file = "keys.json"\n', "must be an absolute path"),
        (CALLER + KEYS + 'max_life = "for ever"\n', "write 12h or 30d"),
        (CALLER + KEYS + "unknown = 1\n", "caller.unknown: unknown key. Known here: issuer, audience"),
        ('[caller]\nissuer = "login.example"\naudience = "r"\n' + KEYS, "must be an https URL"),
        ('[caller]\nissuer = "https://login.example"\n' + KEYS, "caller.audience: missing"),
    ],
)
def test_half_a_word_about_callers_is_refused(text: str, words: str) -> None:
    assert words in refusal(text)


def test_who_shares_a_modern_process_is_a_caller_with_itself_unless_the_file_says_otherwise() -> None:
    assert parse(SERVER).server("files").process_per == "caller"
    assert parse(SERVER + 'process_per = "server"\n').server("files").process_per == "server"
    with pytest.raises(ConfigError, match=r"servers\.files\.process_per"):
        parse(SERVER + 'process_per = "site"\n')


SITE = SERVER + '[servers.own]\ncommand = ["prog"]\ntrust = "caller"\n'


def test_the_site_is_read_whole() -> None:
    assert parse("").site == SiteSettings()
    site = parse(
        SERVER + '[site]\nname = "Plant"\ninstructions = "Be brief."\nstatus = true\n'
        '[site.alias]\nsearch = "files.v1.search"\n'
    ).site
    assert (site.name, site.instructions, site.status) == ("Plant", "Be brief.", True)
    assert site.targets == {"search": Target("files", "v1.search")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[site]\nalias_of = 1",
            "site.alias_of: unknown key. Known here: name, instructions, status, alias.",
        ),
        ("[site]\nstatus = 1", "site.status: "),
        ('[site.alias]\nx = "gone.x"', "site.alias.x: there is no server 'gone' (configured: files, own)."),
        ('[site.alias]\nx = "own.x"', "site.alias.x: the server own has trust"),
        ('[site.alias]\na__b = "files.x"', "__ stands between a server and its tool"),
        ('[site.alias]\na = "files.x"\nb = "files.x"', "two aliases name one tool"),
        ('[site.alias]\na = "files"', 'write NAME = "server.tool"'),
    ],
)
def test_what_is_wrong_with_the_site_is_said(text: str, words: str) -> None:
    assert words in refusal(CALLER + KEYS + SITE + text)
