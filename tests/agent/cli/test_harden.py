"""`servers harden`: what it prints, and what it changes in agent.toml."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock_agent.hardening import installing
from penstock_agent.problem import Exit
from tests.harness.agent_site import Site


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In the place of systemd: what it is asked."""
    words: list[str] = []

    def systemctl(each: Sequence[str]) -> str:
        words.append(" ".join(each))
        return ""

    monkeypatch.setattr(installing, "systemctl", systemctl)
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setattr(installing, "UNITS", folder)
    monkeypatch.setattr(installing.install, "__defaults__", (folder,))
    monkeypatch.setattr(installing.remove, "__defaults__", (folder,))
    return words


def test_printing_and_a_dry_run_change_nothing(site: Site, asked: list[str]) -> None:
    site.join()
    site.add_server()
    before = site.config.read_text()
    printed = site.run("servers", "harden", "files", "--print")
    assert printed.status == Exit.DONE
    assert "ListenStream=/run/penstock/files.sock" in printed.stdout
    assert "DynamicUser=yes" in printed.stdout
    dry = site.run("servers", "harden", "files", "--dry-run")
    assert "would run: systemctl daemon-reload" in dry.stdout
    assert 'would write isolation = "unit" to [servers.files]' in dry.stdout
    undo = site.run("servers", "harden", "files", "--undo", "--dry-run")
    assert "would run: systemctl disable --now penstock-server-files.socket" in undo.stdout
    as_json = site.run("servers", "harden", "files", "--print", "--json").json["units"]
    assert isinstance(as_json, dict)
    assert set(as_json) == {"penstock-server-files.socket", "penstock-server-files@.service"}
    assert asked == []
    assert site.config.read_text() == before


def test_whoever_is_not_root_is_told_what_to_run(
    site: Site, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.join()
    site.add_server()
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(site.config).st_uid or 1000)
    monkeypatch.setattr("penstock_agent.settings_file._check_safe", lambda path, info: None)
    done = site.run("servers", "harden", "files")
    assert done.status == Exit.FAILED
    assert "sudo penstock-agent servers harden files" in done.stderr
    assert asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="units are root's")
def test_it_writes_sets_the_level_and_tests_and_undoing_takes_all_back(site: Site, asked: list[str]) -> None:
    site.join()
    site.add_server()
    before = site.config.read_text()
    done = site.run("servers", "harden", "files")
    # Nothing listens here: the test says so, and how to go back.
    assert done.status == Exit.FAILED
    assert "there is no /run/penstock/files.sock" in done.stdout
    assert "servers harden files --undo" in done.stdout
    assert 'isolation = "unit"' in site.config.read_text()
    assert asked == [
        "daemon-reload",
        "enable penstock-server-files.socket",
        "restart penstock-server-files.socket",
    ]
    listed = site.run("servers", "list")
    assert "isolation unit, network none" in listed.stdout
    checked = site.run("config", "check")
    assert "isolation unit, network none (network namespace)" in checked.stdout
    undone = site.run("servers", "harden", "files", "--undo")
    assert undone.status == Exit.DONE
    assert "a process of the agent again" in undone.stdout
    assert site.config.read_text() == before
