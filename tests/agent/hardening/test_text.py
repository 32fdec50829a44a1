"""What is in the units of a server, and what may not be; that systemd takes them is seen in tests/deploy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from penstock_agent.hardening.text import Site, credentials, quoted, service_unit, socket_unit
from penstock_agent.problem import Problem
from penstock_agent.server_settings import ServerSettings
from penstock_agent.servers import unit_settings

SITE = Site(
    agent="penstock-agent",
    python="/opt/penstock/bin/python",
    program="/opt/penstock/unit_main.py",
    token=Path("/var/lib/penstock-agent/units/x.token"),
    state_dir=Path("/var/lib/penstock-agent"),
    closed=["/etc/penstock-agent", "/run/penstock-agent"],
    empty=["/srv"],
)


def server(**settings: object) -> ServerSettings:
    return ServerSettings.model_validate({"command": ["srv", "a b"], **settings})


def lines(of: ServerSettings, site: Site = SITE) -> list[str]:
    return service_unit("x", of, site).splitlines()


def test_the_socket_is_the_agents_and_each_connection_an_instance() -> None:
    text = socket_unit("x", SITE).splitlines()
    for line in (
        "ListenStream=/run/penstock/x.sock",
        "SocketUser=penstock-agent",
        "SocketMode=0600",
        "Accept=yes",
        "MaxConnections=64",
    ):
        assert line in text


def test_the_command_is_started_by_the_program_that_asks_for_its_settings() -> None:
    found = server()
    start = f"/opt/penstock/bin/python -I -S /opt/penstock/unit_main.py {unit_settings(found)}"
    assert f'ExecStart=:{start} srv "a b"' in lines(found)
    for line in ("StandardInput=socket", "StandardOutput=socket", "StandardError=journal", "DynamicUser=yes"):
        assert line in lines(found)


def test_without_a_network_it_has_none_and_package_runners_are_told() -> None:
    closed, opened = lines(server()), lines(server(network="host"))
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX AF_NETLINK", "IPAddressDeny=any"} <= set(
        closed
    )
    assert "Environment=UV_OFFLINE=1" in closed
    assert not {"PrivateNetwork=yes", "IPAddressDeny=any", "Environment=UV_OFFLINE=1"} & set(opened)


def test_addresses_are_systemds_to_enforce_and_ports_the_programs() -> None:
    held = lines(server(network=["10.0.0.5:5432", "10.0.0.6:5432"], isolation="unit"))
    assert "IPAddressDeny=any" in held
    assert "IPAddressAllow=10.0.0.5 10.0.0.6" in held
    assert "PrivateNetwork=yes" not in held
    start = next(line for line in held if line.startswith("ExecStart="))
    assert " --tcp=5432 --deny=127.255.255.254 " in start
    assert "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self" in held
    assert not any("IPAddress" in line for line in lines(server(network="host")))


def test_the_agents_own_is_hidden_and_the_named_places_are_not() -> None:
    found = lines(server(read=["/srv/share"], write=["/srv/inbox"]))
    for line in (
        "TemporaryFileSystem=/var/lib/penstock-agent:ro",
        "InaccessiblePaths=-/etc/penstock-agent",
        "TemporaryFileSystem=/srv:ro",
        "BindReadOnlyPaths=/srv/share",
        "BindPaths=/srv/inbox",
        "ProtectHome=yes",
    ):
        assert line in found
    assert "ProtectHome=tmpfs" in lines(server(read=["/home/x/notes"]))


def test_limits_are_those_of_the_settings() -> None:
    found = lines(server(limits={"memory": "2GiB", "processes": 50, "files": 100, "cpu_seconds": 9}))
    for line in ("MemoryMax=2147483648", "TasksMax=50", "LimitNOFILE=100", "LimitCPU=9"):
        assert line in found


def test_secrets_are_loaded_by_systemd_and_not_in_the_text() -> None:
    site = replace(SITE, credentials=credentials("[Service]\nLoadCredentialEncrypted=crm:/etc/crm.cred\n"))
    found = lines(server(env={"A": "file:/etc/tok", "B": "cred:crm", "LEVEL": "x%y $HOME"}), site)
    assert "LoadCredential=env.A:/etc/tok" in found
    assert "LoadCredentialEncrypted=env.B:/etc/crm.cred" in found
    assert 'Environment="LEVEL=x%%y $HOME"' in found
    assert not any(line.startswith(("Environment=A", "Environment=B")) for line in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"env": {"API_TOKEN": "hunter2canary"}}, 'API_TOKEN = "file:/path"'),
        ({"env": {"B": "cred:crm"}}, "Add LoadCredential=crm:/path"),
        ({"env": {"a b": "file:/x"}}, "cannot be the name of a credential"),
        ({"read": ["/srv/a b"]}, "cannot stand in a unit"),
        ({"read": ["/srv/a:b"]}, "cannot stand in a unit"),
        ({"command": ["srv", "\x1b"]}, "control character"),
    ],
)
def test_what_a_unit_may_not_hold_is_refused_in_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(Problem) as raised:
        lines(server(**settings))
    assert words in str(raised.value)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("a-b=/c", "a-b=/c"),
        ("", '""'),
        ("a b", '"a b"'),
        ('say "x"', '"say \\"x\\""'),
        ("50%", '"50%%"'),
        ("a\nb\\", '"a\\nb\\\\"'),
        (";", '";"'),
    ],
)
def test_words_mean_only_themselves(word: str, written: str) -> None:
    assert quoted(word) == written
