"""The commands of penstock-relay: results on stdout, words on stderr, a status, and never a stack trace."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import types
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import penstock
import penstock_relay
from penstock.joinstring import JoinString
from penstock_relay import cli, listening
from penstock_relay.access import Access
from penstock_relay.ca import CertificateAuthority
from penstock_relay.cli.app import app
from penstock_relay.config import Settings
from penstock_relay.enrolment import secret_hash
from penstock_relay.listening import Listening
from penstock_relay.store import Invite, Store, Unusable

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(state: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in os.environ:
        if name.startswith("PENSTOCK_RELAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_RELAY_CONFIG", os.devnull)
    monkeypatch.setenv("PENSTOCK_RELAY_STATE_DIR", str(state))
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_URL", "wss://relay.example.com:8443")

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), prog_name="penstock-relay")
        assert "Traceback" not in result.output
        return result

    return invoke


def find_invite(state: Path, join: JoinString, now: float) -> Invite | Unusable:
    async def work() -> Invite | Unusable:
        async with await Store.open(f"sqlite+aiosqlite:///{state / 'relay.db'}") as store:
            return await store.invites.find(secret_hash(join.secret), now)

    return asyncio.run(work())


def opens(state: Path, token: str) -> tuple[str, str | None, str] | None:
    async def work() -> tuple[str, str | None, str] | None:
        async with await Store.open(f"sqlite+aiosqlite:///{state / 'relay.db'}") as store:
            grant = await Access(store).principal(token)
            return None if grant is None else (grant.site, grant.server, grant.principal.subject)

    return asyncio.run(work())


def failed(result: Result, status: int) -> str:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("penstock-relay: ")
    return lines[0]


def test_site_add_prints_the_join_string_alone(run: Run, state: Path) -> None:
    result = run("site", "add", "mill")
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    join = JoinString.parse(line)
    assert (join.url, join.site) == ("wss://relay.example.com:8443", "mill")
    now = time.time()
    assert join.pin == CertificateAuthority.open(state, now).pin
    invite = find_invite(state, join, now)
    assert isinstance(invite, Invite)
    assert invite.expires_at == pytest.approx(now + 3600, abs=30)
    assert "penstock-agent join" in result.stderr


def test_a_site_that_exists_is_refused_and_the_other_command_named(run: Run) -> None:
    run("site", "add", "mill")
    assert "penstock-relay agent invite mill" in failed(run("site", "add", "mill"), 1)


def test_agent_invite_prints_another_join_string_of_the_same_relay(run: Run, state: Path) -> None:
    first = JoinString.parse(run("site", "add", "mill").stdout.strip())
    second = JoinString.parse(run("agent", "invite", "mill", "--ttl", "2d").stdout.strip())
    assert second.secret != first.secret
    assert second.pin == first.pin
    invite = find_invite(state, second, 0.0)
    assert isinstance(invite, Invite)
    assert invite.expires_at == pytest.approx(time.time() + 2 * 86_400, abs=30)


def test_a_site_is_suspended_and_resumed_and_twice_is_harmless(run: Run) -> None:
    run("site", "add", "mill")
    suspended = run("site", "suspend", "mill")
    assert (suspended.exit_code, suspended.stdout) == (0, "")
    assert "penstock-relay site resume mill" in suspended.stderr
    assert "was suspended before" in run("site", "suspend", "mill").stderr
    [site] = json.loads(run("site", "list", "--json").stdout)
    assert f"since {site['suspended_at']}" in run("site", "list").stdout
    assert json.loads(run("site", "suspend", "mill", "--json").stdout) == {
        "site": "mill",
        "suspended": True,
        "was_suspended": True,
    }
    assert "go to site mill again" in run("site", "resume", "mill").stderr
    assert "is not suspended" in run("site", "resume", "mill").stderr
    assert json.loads(run("site", "resume", "mill", "--json").stdout) == {
        "site": "mill",
        "suspended": False,
        "was_suspended": False,
    }
    [site] = json.loads(run("site", "list", "--json").stdout)
    assert site["suspended_at"] is None
    shown = json.loads(run("audit", "show", "--json").stdout)
    kinds = [each["kind"] for each in shown if each["kind"] in ("site_suspended", "site_resumed")]
    assert kinds == ["site_suspended", "site_resumed"]
    for command in ("suspend", "resume"):
        assert "penstock-relay site add port" in failed(run("site", command, "port"), 1)


def test_agent_invite_needs_a_site(run: Run) -> None:
    assert "penstock-relay site add port" in failed(run("agent", "invite", "port"), 1)


@pytest.mark.parametrize("ttl", ["8d", "169h", "0h", "-1h", "1", "h", "1w", "1.5h", ""])
def test_a_ttl_that_is_none_or_too_long_is_a_usage_error_and_makes_nothing(ttl: str, run: Run) -> None:
    assert "--ttl" in failed(run("site", "add", "mill", f"--ttl={ttl}"), 2)
    assert json.loads(run("site", "list", "--json").stdout) == []


@pytest.mark.parametrize("name", ["Mill", "a.b", "oauth", "x" * 41, ""])
def test_a_name_that_is_none_is_a_usage_error(name: str, run: Run) -> None:
    assert "site" in failed(run("site", "add", name), 2)
    assert "token" in failed(run("token", "issue", "--site", "mill", "--name", name), 2)


def test_the_join_string_takes_the_url_of_the_running_relay(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_RELAY_TUNNEL_URL")
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_LISTEN", "127.0.0.1:0")
    assert "Start the relay first (penstock-relay serve)" in failed(run("site", "add", "mill"), 1)
    addresses = ("http://127.0.0.1:1", "127.0.0.1:1", "wss://127.0.0.1:2", "127.0.0.1:2", "127.0.0.1:3")
    state.mkdir(exist_ok=True)
    listening.write(state, Listening(os.getpid(), *addresses))
    assert JoinString.parse(run("site", "add", "mill").stdout.strip()).url == "wss://127.0.0.1:2"


def test_the_join_string_of_a_fixed_loopback_port_needs_no_running_relay(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_RELAY_TUNNEL_URL")
    monkeypatch.setenv("PENSTOCK_RELAY_TUNNEL_LISTEN", "127.0.0.1:8443")
    assert JoinString.parse(run("site", "add", "mill").stdout.strip()).url == "wss://127.0.0.1:8443"


def test_a_tunnel_url_that_cannot_be_inferred_is_a_configuration_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_RELAY_TUNNEL_URL")
    assert "Set tunnel_url" in failed(run("site", "add", "mill"), 2)
    assert json.loads(run("site", "list", "--json").stdout) == []


def test_sites_are_listed_for_people_and_for_scripts(run: Run) -> None:
    empty = run("site", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "penstock-relay site add NAME" in empty.stderr
    run("site", "add", "mill")
    run("site", "add", "dam")
    lines = run("site", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["SITE", "dam", "mill"]
    sites = json.loads(run("site", "list", "--json").stdout)
    assert [(site["name"], site["agents"]) for site in sites] == [("dam", 0), ("mill", 0)]


def test_token_issue_prints_a_token_that_opens_the_site_alone(run: Run, state: Path) -> None:
    run("site", "add", "mill")
    result = run("token", "issue", "--site", "mill", "--name", "ci")
    assert result.exit_code == 0
    [token] = result.stdout.splitlines()
    assert opens(state, token) == ("mill", None, "svc:ci")
    assert token not in result.stderr
    assert "all of them together have PUBLIC_URL/mill/mcp." in result.stderr
    result = run("token", "issue", "--site", "mill", "--server", "files")
    assert "Its URL is PUBLIC_URL/mill/files/mcp." in result.stderr
    narrow = result.stdout.strip()
    assert opens(state, narrow) == ("mill", "files", f"svc:{narrow.split('_')[1]}")


def test_the_url_for_a_token_is_that_of_the_running_relay_if_it_can_be_known(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("site", "add", "mill")
    addresses = ("http://127.0.0.1:1", "127.0.0.1:1", "wss://127.0.0.1:2", "127.0.0.1:2", "127.0.0.1:3")
    listening.write(state, Listening(os.getpid(), *addresses))
    assert "have http://127.0.0.1:1/mill/mcp." in run("token", "issue", "--site", "mill").stderr
    monkeypatch.setenv("PENSTOCK_RELAY_PUBLIC_URL", "https://mcp.example.com")
    assert "have https://mcp.example.com/mill/mcp." in run("token", "issue", "--site", "mill").stderr


def test_token_issue_needs_a_site(run: Run) -> None:
    assert "penstock-relay site add port" in failed(run("token", "issue", "--site", "port"), 1)
    missing = run("token", "issue")
    assert missing.exit_code == 2
    assert "--site" in missing.stderr


def test_token_list_shows_no_secret(run: Run) -> None:
    run("site", "add", "mill")
    token = run("token", "issue", "--site", "mill", "--name", "ci").stdout.strip()
    _, public_id, secret = token.split("_")
    for result in (
        run("token", "list"),
        run("token", "list", "--json"),
        run("token", "list", "--site", "mill"),
    ):
        assert public_id in result.stdout
        assert secret not in result.output
        assert secret[-8:] not in result.output
    [entry] = json.loads(run("token", "list", "--json").stdout)
    assert (entry["id"], entry["principal"], entry["state"]) == (public_id, "svc:ci", "good")
    assert json.loads(run("token", "list", "--site", "dam", "--json").stdout) == []


def test_a_revoked_token_opens_nothing_and_twice_is_harmless(run: Run, state: Path) -> None:
    run("site", "add", "mill")
    token = run("token", "issue", "--site", "mill").stdout.strip()
    public_id = token.split("_")[1]
    assert run("token", "revoke", public_id).exit_code == 0
    assert opens(state, token) is None
    again = json.loads(run("token", "revoke", token, "--json").stdout)
    assert again == {"id": public_id, "revoked": True, "was_revoked": True}
    assert json.loads(run("token", "list", "--json").stdout)[0]["state"] == "revoked"
    assert "penstock-relay token list" in failed(run("token", "revoke", "nope"), 1)


def test_every_result_can_be_json(run: Run) -> None:
    joined = json.loads(run("--json", "site", "add", "mill").stdout)
    assert JoinString.parse(joined["join_string"]).site == joined["site"] == "mill"
    invited = json.loads(run("agent", "invite", "mill", "--json").stdout)
    assert invited["url"] == "wss://relay.example.com:8443"
    issued = json.loads(run("token", "issue", "--site", "mill", "--json").stdout)
    assert issued["token"].split("_")[1] == issued["id"]
    assert json.loads(run("config", "check", "--json").stdout)["ok"] is True


def test_config_check_shows_what_is_in_force(run: Run, state: Path) -> None:
    result = run("config", "check")
    assert result.exit_code == 0
    assert "public_url = http://127.0.0.1:8080" in result.stdout
    assert f"state_dir = {state}" in result.stdout
    shown = json.loads(run("config", "check", "--json").stdout)["settings"]
    assert shown["listen"] == "127.0.0.1:8080"
    assert shown["tunnel_url"] == "wss://relay.example.com:8443"
    assert not state.exists()


def test_config_check_shows_who_may_call(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("config", "check").stdout
    assert "trusted_proxies = (not set)" in shown
    assert "callers = (not set)" in shown
    monkeypatch.setenv("PENSTOCK_RELAY_CALLERS", '{"egress": ["anthropic", "192.0.2.0/24"]}')
    assert "callers needs trusted_proxies" in failed(run("config", "check"), 2)
    monkeypatch.setenv("PENSTOCK_RELAY_TRUSTED_PROXIES", "none")
    shown = run("config", "check").stdout
    assert "trusted_proxies = (none)" in shown
    assert "callers = egress: anthropic, 192.0.2.0/24" in shown


def test_config_check_shows_issuers_by_their_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_ISSUERS", '[{"url": "https://login.example.com"}]')
    assert "issuers = https://login.example.com\n" in run("config", "check").stdout
    (shown,) = json.loads(run("config", "check", "--json").stdout)["settings"]["issuers"]
    assert shown["scopes"] == {"mcp": ["*/*"]}


def test_config_check_refuses_what_serve_would_refuse(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RELAY_NATS_URL", "nats://x")
    assert "not enforced by this version" in failed(run("config", "check"), 2)
    assert "not enforced by this version" in failed(run("serve"), 2)
    monkeypatch.delenv("PENSTOCK_RELAY_NATS_URL")
    monkeypatch.delenv("PENSTOCK_RELAY_TUNNEL_URL")
    assert "tunnel_url is not set" in failed(run("config", "check"), 2)
    assert "tunnel_url is not set" in failed(run("serve"), 2)


def test_the_configuration_file_may_be_named_before_the_command_or_after_it(run: Run, tmp_path: Path) -> None:
    before, after = tmp_path / "before.toml", tmp_path / "after.toml"
    before.write_text('log_level = "debug"\n')
    after.write_text('log_level = "error"\n')
    assert "log_level = debug" in run("--config", str(before), "config", "check").stdout
    assert "log_level = error" in run("config", "check", "--config", str(after)).stdout
    both = run("--config", str(before), "config", "check", "--config", str(after))
    assert "log_level = error" in both.stdout
    assert "No such file" in failed(run("config", "check", "--config", str(tmp_path / "none.toml")), 2)


def test_serve_hands_the_settings_to_the_daemon(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Settings] = []

    async def serve(settings: Settings) -> None:
        served.append(settings)

    stand_in(monkeypatch, serve)
    assert run("serve").exit_code == 0
    assert [settings.tunnel_url for settings in served] == ["wss://relay.example.com:8443"]


def test_an_unforeseen_error_is_one_line_without_its_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(_settings: Settings) -> None:
        raise ExceptionGroup("x", [RuntimeError("canary")])

    stand_in(monkeypatch, serve)
    line = failed(run("serve"), 1)
    assert "RuntimeError" in line
    assert "canary" not in line


def test_an_error_of_the_system_names_its_cause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(_settings: Settings) -> None:
        raise ExceptionGroup("x", [OSError(98, "Address already in use")])

    stand_in(monkeypatch, serve)
    assert "Address already in use" in failed(run("serve"), 1)


def stand_in(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[Settings], Coroutine[object, object, None]]
) -> None:
    daemon = types.ModuleType("penstock_relay.daemon")
    monkeypatch.setattr(daemon, "serve", serve, raising=False)
    monkeypatch.setitem(sys.modules, "penstock_relay.daemon", daemon)
    monkeypatch.setattr(penstock_relay, "daemon", daemon, raising=False)


def test_a_state_folder_that_cannot_be_used_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PENSTOCK_RELAY_STATE_DIR", str(tmp_path / "file" / "state"))
    assert str(tmp_path / "file" / "state") in failed(run("site", "list"), 1)
    assert str(tmp_path / "file" / "state") in failed(run("site", "add", "mill"), 1)


def test_a_missing_library_of_the_relay_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "EXTRA", ("sqlalchemy", "no_such_library_here"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "pip install 'penstock[relay]'" in printed.err
    assert "no_such_library_here" in printed.err


def test_the_named_libraries_are_the_extra_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extra = {re.split(r"[\[><=]", line)[0] for line in project["optional-dependencies"]["relay"]}
    brought_by = {"argon2": "argon2-cffi"}  # where the names of library and module differ
    assert {brought_by.get(name, name.replace("_", "-")) for name in cli.EXTRA} == extra


def test_the_command_works_as_a_process_and_loads_little_for_help(state: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    env |= {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PENSTOCK_RELAY_STATE_DIR": str(state),
        "PENSTOCK_RELAY_TUNNEL_URL": "wss://relay.example.com:8443",
    }

    def process(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = "from penstock_relay.cli import main; main()"
        argv = [sys.executable, "-X", "importtime", "-c", script, *arguments]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    version = process("--version")
    assert (version.returncode, version.stdout) == (0, f"penstock-relay {penstock.__version__}\n")
    help_text = process("--help")
    assert help_text.returncode == 0
    for command in ("serve", "site", "agent", "token", "config"):
        assert command in help_text.stdout
    for heavy in ("sqlalchemy", "aiohttp", "pydantic", "alembic", "cryptography", "structlog"):
        assert not re.search(rf"\| +{heavy}$", help_text.stderr, re.MULTILINE), heavy
    added = process("site", "add", "mill")
    assert added.returncode == 0
    assert JoinString.parse(added.stdout.strip()).site == "mill"
    assert process("site", "add", "mill").returncode == 1
    assert process("no-such-command").returncode == 2
