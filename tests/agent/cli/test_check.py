import pytest

from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.kernel import Kernel
from tests.harness import signing
from tests.harness.agent_site import Site


def check(site: Site, *more: str) -> tuple[int, str]:
    done = site.run("config", "check", *more)
    return done.status, done.stdout + done.stderr


def test_effective_settings_and_where_they_come_from(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.join()
    site.configure('max_children = 8\nproxy = "http://me:hunter2@proxy:3128"\n')
    monkeypatch.setenv("PENSTOCK_AGENT_CALL_TIMEOUT", "60")
    status, text = check(site)
    assert status == 0
    assert f"max_children = 8   (from {site.config})" in text
    assert "call_timeout = 60.0   (from PENSTOCK_AGENT_CALL_TIMEOUT)" in text
    assert "log_level = info\n" in text
    assert "proxy = http://me:***@proxy:3128" in text
    assert "hunter2" not in text
    assert "The configuration is good." in text


def test_settings_that_are_not_the_defaults_are_shown_with_the_servers_and_the_site(site: Site) -> None:
    two = TWO.replace('expose = ["*"]', 'expose = ["*"]\nwarm = 2')
    site.configure(
        "close_stream_after = 50\n" + two + '[site]\nname = "Plant"\ninstructions = "Of \\"A\\"."\n'
        "[tolerance]\nanswer_while_starting = false\n"
        '[ledger]\nsync = "always"\nkeep_days = 0\n'
    )
    _, text = check(site)
    assert f"close_stream_after = 50.0   (from {site.config})" in text
    assert text.count("warm = 2") == 1
    assert '  name = "Plant"\n  instructions = "Of \\"A\\"."' in text
    assert "tolerance: off: answer_while_starting\n" in text
    assert 'ledger: sync = "always", kept for ever, at most 4.0 GiB\n' in text
    found = site.run("config", "check", "--json").json
    assert found["ledger"] == {"sync": "always", "keep_days": 0, "max_size": 4 << 30}
    servers, tolerance = found["servers"], found["tolerance"]
    assert isinstance(servers, dict)
    assert (servers["a"]["warm"], servers["b"]["warm"]) == (None, 2)
    assert isinstance(tolerance, dict)
    assert (tolerance["answer_while_starting"], tolerance["sessionless"]) == (False, True)


def test_what_is_sensitive_is_shown_and_what_follows(site: Site) -> None:
    site.configure('[servers.mail]\ncommand = ["true"]\nsensitive = ["read_*"]\n[taint]\nlasts = 600\n')
    _, text = check(site)
    assert "  sensitive = ['read_*']\n" in text
    assert 'taint: after_sensitive = "deny", lasts 600 s\n' in text
    found = site.run("config", "check", "--json").json
    assert found["taint"] == {"after_sensitive": "deny", "lasts": 600}
    assert isinstance(found["servers"], dict)
    assert found["servers"]["mail"]["sensitive"] == ["read_*"]


def test_what_is_taken_out_is_shown_with_each_server(site: Site) -> None:
    site.configure(
        '[servers.files]\ncommand = ["true"]\n[[servers.files.redact]]\nfind = ["card"]\n'
        '[[servers.files.redact]]\ntools = ["x_*"]\nfields = ["/a"]\naction = "block"\n'
    )
    _, text = check(site)
    assert "  redact mask: card   (in everything)\n  redact block: /a   (in x_*)\n" in text
    servers = site.run("config", "check", "--json").json["servers"]
    assert isinstance(servers, dict)
    assert [rule["action"] for rule in servers["files"]["redact"]] == ["mask", "block"]


def test_json_has_the_same(site: Site) -> None:
    site.join()
    site.add_server(["read_*"])
    found = site.run("config", "check", "--json").json
    assert found["problems"] == []
    settings = found["settings"]
    assert isinstance(settings, dict)
    assert settings["max_children"] == {"value": 64, "source": "default"}
    assert settings["state_dir"] == {"value": str(site.state), "source": "--state-dir"}


def test_values_of_the_environment_of_servers_are_not_shown(site: Site) -> None:
    site.configure('[servers.files]\ncommand = ["true"]\nenv = { TOKEN = "hunter2" }\n')
    _, text = check(site)
    assert "TOKEN" in text
    assert "hunter2" not in text
    assert "hunter2" not in check(site, "--json")[1]


def test_every_mistake_is_listed_with_status_2(site: Site) -> None:
    site.configure('foo = 1\n[servers.files]\ncommand = ["p"]\nisolation = "jail"\neffect = {}\n')
    status, text = check(site)
    assert status == 2
    for words in (
        "foo: unknown key",
        'files.isolation: should be "process" or "landlock" or "unit" or "container"',
        "files.effect:",
    ):
        assert words in text


def test_a_key_that_others_can_read_is_wrong(site: Site) -> None:
    site.join()
    (site.state / "identity.pem").chmod(0o644)
    status, text = check(site)
    assert status == 2
    assert "WRONG:" in text
    assert "chmod 600" in text


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_wrong(site: Site, content: str | None) -> None:
    path = site.folder / "other.pem"
    if content is not None:
        path.write_text(content)
    site.configure(f'ca_file = "{path}"\n')
    status, text = check(site)
    assert status == 2
    assert f"ca_file: {path}" in text


def test_what_is_not_yet_done_is_a_note_and_no_mistake(site: Site) -> None:
    site.configure('[servers.files]\ncommand = ["no-such-program-anywhere"]\n')
    status, text = check(site)
    assert status == 0
    assert "has not joined a site yet" in text
    assert "no-such-program-anywhere is not found on this PATH" in text
    assert "penstock-agent expose files" in text


def test_a_path_that_leads_to_no_program_is_a_note_of_its_own(site: Site) -> None:
    site.configure('[servers.files]\ncommand = ["/no/such/program"]\n')
    status, text = check(site)
    assert status == 0
    assert "there is no program /no/such/program, or this user may not run it. Correct the path." in text
    assert "absolute path" not in text


def test_keys_of_the_provider_that_cannot_be_used_are_wrong(site: Site) -> None:
    keys = site.folder / "keys.json"
    site.configure(
        '[servers.files]\ncommand = ["true"]\ntrust = "caller"\n'
        f'[caller]\nissuer = "https://login.example"\naudience = "relay"\nkeys_file = "{keys}"\n'
    )
    status, text = check(site)
    assert status == 2
    assert f"caller.keys_file: {keys} cannot be read" in text
    keys.write_bytes(signing.key_set("ec"))
    status, text = check(site)
    assert status == 0
    assert 'trust = "caller"' in text
    assert "grants that https://login.example signed for relay" in text


def test_a_server_of_the_network_is_shown_with_where_its_secrets_lie(site: Site) -> None:
    token = site.folder / "crm.token"
    token.write_text("hunter2\n")
    token.chmod(0o600)
    site.configure(
        '[servers.crm]\nurl = "http://crm.internal:9000/sse"\n'
        f'headers = {{ Authorization = "Bearer file:{token}" }}\n'
    )
    status, text = check(site)
    assert status == 0
    assert 'url = "http://crm.internal:9000/sse", transport = "sse"' in text
    assert f'header Authorization = "Bearer file:{token}"' in text
    assert "and the secrets in headers, can be read and changed by whoever is on the network" in text
    assert "hunter2" not in text
    found = site.run("config", "check", "--json").json
    assert "hunter2" not in str(found)
    assert "crm.internal" in str(found["servers"])


def test_secrets_and_authorities_that_cannot_be_used_are_wrong(site: Site) -> None:
    site.configure(
        '[servers.crm]\nurl = "https://crm.internal/mcp"\nca_file = "/nowhere/ca.pem"\n'
        'headers = { Authorization = "file:/nowhere/token" }\n'
    )
    status, text = check(site)
    assert status == 2
    assert "servers.crm.headers.Authorization: /nowhere/token cannot be read" in text
    assert "servers.crm.ca_file: /nowhere/ca.pem cannot be read" in text
    assert "with http" not in text
    empty = site.folder / "ca.pem"
    empty.write_text("none")
    site.configure(f'[servers.crm]\nurl = "https://crm.internal/mcp"\nca_file = "{empty}"\n')
    assert "holds no PEM certificate" in check(site)[1]


def test_the_http_client_that_a_url_needs_is_missed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    site.configure('[servers.crm]\nurl = "http://crm.internal:9000/mcp"\n')
    status, text = check(site)
    assert status == 2
    assert "pip install 'penstock[http]'" in text


TWO = '[servers.a]\ncommand = ["true"]\nexpose = ["read"]\n[servers.b]\ncommand = ["true"]\nexpose = ["*"]\n'


def test_the_site_is_shown_with_its_aliases(site: Site) -> None:
    site.configure(TWO + '[site]\nstatus = true\n[site.alias]\nsearch = "a.read"\nlost = "a.write"\n')
    _, text = check(site)
    assert "site: a, b as one server" in text
    assert '  alias search = "a.read"' in text
    assert "  status = true" in text
    assert "note: site.alias.lost: a does not expose write. Run: penstock-agent expose a write" in text
    assert "site.alias.search:" not in text
    found = site.run("config", "check", "--json").json["site"]
    assert found == {
        "name": "",
        "instructions": "",
        "status": True,
        "alias": {"search": "a.read", "lost": "a.write"},
        "servers": ["a", "b"],
    }


def test_a_site_of_one_server_does_nothing_and_it_says_so(site: Site) -> None:
    site.configure('[servers.a]\ncommand = ["true"]\nexpose = ["*"]\n[site]\nstatus = true\n')
    _, text = check(site)
    assert "site: does nothing until two servers expose something" in text
    site.configure('[servers.a]\ncommand = ["true"]\nexpose = ["*"]\n')
    assert "site:" not in check(site)[1]


def kernel_that_has(monkeypatch: pytest.MonkeyPatch, found: Kernel) -> None:
    monkeypatch.setattr(kernel, "look", lambda: found)


FULL = Kernel(landlock=7, seccomp=True, namespaces=True, networks=True, counts=True, machine="x86_64")
BARE = Kernel(machine="x86_64", seccomp=True)


def test_how_a_server_would_be_confined_is_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_that_has(monkeypatch, FULL)
    site.configure(
        f'[servers.a]\ncommand = ["true"]\nread = ["{site.folder / "share"}"]\nlimits = {{ files = 64 }}\n'
        '[servers.b]\ncommand = ["true"]\nnetwork = "host"\nisolation = "process"\n'
    )
    (site.folder / "share").mkdir()
    status, text = check(site)
    assert status == 0, text
    assert "  isolation landlock (ABI 7), network none (seccomp, network namespace)\n" in text
    assert f"  read = ['{site.folder / 'share'}']\n" in text
    assert "  limits: memory 4294967296, processes 512, files 64\n" in text
    assert "  isolation process, network host\n" in text
    servers = site.run("config", "check", "--json").json["servers"]
    assert isinstance(servers, dict)
    assert (servers["a"]["isolation"], servers["a"]["network"]) == ("landlock", "none")
    assert servers["a"]["confinement"]["isolation"] == "landlock (ABI 7)"
    assert servers["a"]["limits"]["files"] == 64


def test_a_kernel_without_landlock_is_a_note_and_where_it_was_asked_for_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_that_has(monkeypatch, BARE)
    site.configure('[servers.a]\ncommand = ["true"]\n')
    status, text = check(site)
    assert status == 0
    assert 'note: server a: confined as isolation = "process" only: this kernel has no Landlock' in text
    site.configure('[servers.a]\ncommand = ["true"]\nisolation = "landlock"\n')
    status, text = check(site)
    assert status == 2
    assert 'WRONG: server a: isolation = "landlock" cannot be had' in text
    assert "  isolation cannot be had" in text


def test_places_that_are_not_there_or_the_agents_own_are_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_that_has(monkeypatch, FULL)
    none, secret = site.folder / "none", site.folder / "secret"
    site.configure(
        f'[servers.a]\ncommand = ["true"]\nread = ["{none}", "{site.state}"]\nwrite = ["/"]\n'
        f'env = {{ A = "file:{secret}" }}\n'
    )
    site.state.mkdir(exist_ok=True)
    status, text = check(site)
    assert status == 2
    assert f"read names {none}, which does not exist" in text
    assert f"read names {site.state}, which is the agent's own" in text
    assert "write names /, which contains what is the agent's own" in text
    assert f"A in env names {secret}, which cannot be read" in text
