"""Writing and removing units, with a folder in the place of systemd's and a record in that of systemctl."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.config import Options
from penstock_agent.hardening import installing
from penstock_agent.problem import Problem
from tests.harness.agent_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.state.mkdir(exist_ok=True)
    return made


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def ask(asked: list[str]) -> installing.Systemctl:
    def systemctl(words: Sequence[str]) -> str:
        asked.append(" ".join(words))
        return "LoadCredential=crm:/etc/crm\n"

    return systemctl


def settings(site: Site, table: str) -> config.Settings:
    site.configure(f'[servers.x]\ncommand = ["/bin/cat"]\n{table}')
    return config.load(Options(config=site.config, state_dir=site.state), {})


def units(site: Site, table: str, ask: installing.Systemctl) -> dict[str, str]:
    found = settings(site, table)
    return installing.units(found, "x", found.server("x"), ask)


def test_two_units_that_name_the_agents_user_and_our_program(site: Site, ask: installing.Systemctl) -> None:
    found = units(site, "", ask)
    assert list(found) == ["penstock-server-x.socket", "penstock-server-x@.service"]
    assert "unit_main.py " in found["penstock-server-x@.service"]
    assert str(site.state / "units" / "x.token") in found["penstock-server-x@.service"]


def test_the_agents_unit_is_asked_for_credentials_only_where_one_is_named(
    site: Site, ask: installing.Systemctl, asked: list[str]
) -> None:
    units(site, "", ask)
    assert asked == []
    text = units(site, 'env = { A = "cred:crm" }\n', ask)["penstock-server-x@.service"]
    assert asked == ["cat penstock-agent.service"]
    assert "LoadCredential=env.A:/etc/crm" in text


def test_what_everybody_may_read_needs_no_group_and_what_nobody_may_is_refused(
    site: Site, ask: installing.Systemctl, tmp_path: Path
) -> None:
    place = tmp_path / "share"
    place.mkdir(mode=0o755)
    assert (
        "SupplementaryGroups" not in units(site, f'read = ["{place}"]\n', ask)["penstock-server-x@.service"]
    )
    place.chmod(0o700)
    with pytest.raises(Problem, match=r"the user of the unit may not read.*chgrp -R mcp-data .*g\+rX"):
        units(site, f'read = ["{place}"]\n', ask)
    place.chmod(0o755)
    with pytest.raises(Problem, match=r"the user of the unit may not change.*g\+rwX"):
        units(site, f'write = ["{place}"]\n', ask)
    with pytest.raises(Problem, match="cannot be looked at"):
        units(site, 'read = ["/no/such"]\n', ask)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to another group takes root")
def test_a_place_of_a_group_brings_that_group(site: Site, ask: installing.Systemctl, tmp_path: Path) -> None:
    place = tmp_path / "inbox"
    place.mkdir()
    os.chown(place, 0, 8)
    place.chmod(0o770)
    assert (
        "SupplementaryGroups=mail" in units(site, f'write = ["{place}"]\n', ask)["penstock-server-x@.service"]
    )


def test_the_agents_own_may_not_be_named(site: Site, ask: installing.Systemctl) -> None:
    with pytest.raises(Problem, match="the agent's own"):
        units(site, f'read = ["{site.state}"]\n', ask)


def test_a_server_with_a_url_has_no_process(site: Site, ask: installing.Systemctl) -> None:
    site.configure('[servers.x]\nurl = "http://crm/mcp"\n')
    found = config.load(Options(config=site.config, state_dir=site.state), {})
    with pytest.raises(Problem, match="has a url"):
        installing.units(found, "x", found.server("x"), ask)


@pytest.mark.skipif(os.geteuid() != 0, reason="units are root's")
def test_units_are_written_listened_to_and_taken_away(
    site: Site, ask: installing.Systemctl, asked: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    found = settings(site, "")
    prepared = site.state / "prepared" / "x"
    prepared.mkdir(parents=True, mode=0o700)
    (prepared / "program").touch(0o700)
    installing.install(
        found, "x", {"penstock-server-x.socket": "a", "penstock-server-x@.service": "b"}, ask, folder
    )
    assert asked == [
        "daemon-reload",
        "enable penstock-server-x.socket",
        "restart penstock-server-x.socket",
    ]
    token = site.state / "units" / "x.token"
    assert len(token.read_text()) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE((prepared / "program").stat().st_mode) == 0o705
    assert (folder / "penstock-server-x.socket").read_text() == "a"
    asked.clear()
    gone = installing.remove(found, "x", ask, folder)
    assert [path.name for path in gone] == [
        "penstock-server-x.socket",
        "penstock-server-x@.service",
        "x.token",
    ]
    assert asked[0] == "disable --now penstock-server-x.socket"
    assert not list(folder.iterdir())
    assert installing.remove(found, "x", ask, folder) == []


def test_what_systemctl_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemctl"
    program.write_text('#!/bin/sh\necho "Failed to $1" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(Problem, match="systemctl reload failed: Failed to reload"):
        installing.systemctl(["reload"])
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(Problem, match="no systemd on this machine"):
        installing.systemctl(["reload"])
