"""penstock-relay ca: what an operator sees and does while one CA follows another."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.joinstring import JoinString
from penstock.names import AgentId
from penstock_relay.ca import CertificateAuthority
from penstock_relay.ca.rotation import RENEWABLE, Phase
from penstock_relay.store import Agent, Store
from tests.relay.ca.making import Company, p256
from tests.relay.cli.test_cli import Run, failed

Stored = Callable[..., Any]
DAY = 86_400.0


def add_agent(stored: Stored, name: str, issued_at: float, life: float = 7 * DAY) -> None:
    async def work(store: Store) -> None:
        if not await store.sites.exists("berlin"):
            await store.sites.add("berlin", 0)
        await store.agents.add(Agent(AgentId("berlin", name), name, issued_at + life, issued_at))

    stored(work)


def shown(run: Run) -> dict[str, Any]:
    result = run("ca", "show", "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def pin_of(run: Run) -> bytes:
    return JoinString.parse(run("agent", "invite", "berlin").stdout).pin


def test_a_new_relay_has_one_ca_and_nothing_under_way(run: Run) -> None:
    result = run("ca", "show")
    assert result.exit_code == 0
    assert re.search(r"^phase +steady, since \d{4}-", result.stdout, re.MULTILINE)
    assert re.search(r"^waits for +nothing$", result.stdout, re.MULTILINE)
    assert "penstock-relay ca rotate" in result.stdout
    found = shown(run)
    assert found["phase"] == "steady"
    assert found["waits_for"] == {"agents": [], "join_strings": 0}
    (anchor,) = found["anchors"]
    assert (anchor["role"], anchor["key"]) == ("signs", "plain")
    assert anchor["pin"] == found["join_pin"]
    assert re.search(rf"^{anchor['pin'][:16]} +signs +\d{{4}}.*plain$", result.stdout, re.MULTILINE)


def test_a_rotation_waits_for_agents_by_name_and_goes_on_without_them_by_force(
    run: Run, stored: Stored
) -> None:
    now = time.time()
    add_agent(stored, "a1", now - DAY)
    before = pin_of(run)
    begun = run("ca", "rotate")
    assert begun.exit_code == 0
    assert re.search(r"^waits for +1 agent \(berlin/a1\)$", begun.stdout, re.MULTILINE)
    assert "--force" in begun.stdout
    found = shown(run)
    assert found["phase"] == "announced"
    assert found["waits_for"]["agents"] == [{"site": "berlin", "agent": "a1"}]
    assert [a["role"] for a in found["anchors"]] == ["announced", "signs"]
    assert pin_of(run) == before
    text = failed(run("ca", "rotate"), 1)
    assert "phase announced" in text
    assert "1 agent (berlin/a1)" in text
    assert "penstock-relay ca rotate --force" in text
    assert shown(run)["phase"] == "announced"
    forced = run("ca", "rotate", "--force", "--json")
    assert forced.exit_code == 0
    assert "have to join again: 1 agent (berlin/a1)" in forced.stderr
    assert json.loads(forced.stdout)["phase"] == "signing"
    assert pin_of(run) != before
    assert [a["role"] for a in shown(run)["anchors"]] == ["signs", "trusted"]
    assert "1 agent (berlin/a1)" in failed(run("ca", "rotate"), 1)
    ended = run("ca", "rotate", "--force")
    assert ended.exit_code == 0
    found = shown(run)
    assert (found["phase"], len(found["anchors"])) == ("steady", 1)
    assert bytes.fromhex(found["join_pin"]) == pin_of(run) != before


def test_without_agents_every_step_is_taken_at_once(run: Run) -> None:
    first = shown(run)["join_pin"]
    for phase in ("announced", "signing", "steady"):
        result = run("ca", "rotate")
        assert result.exit_code == 0
        assert result.stderr == ""
        assert shown(run)["phase"] == phase
    assert shown(run)["join_pin"] != first


def test_force_begins_no_further_than_the_announcement(run: Run, stored: Stored) -> None:
    add_agent(stored, "a1", time.time() - DAY)
    assert run("ca", "rotate", "--force").exit_code == 0
    assert shown(run)["phase"] == "announced"


def test_an_agent_that_is_gone_for_good_is_not_waited_for(run: Run, stored: Stored) -> None:
    add_agent(stored, "a1", time.time() - RENEWABLE - 8 * DAY)
    assert run("ca", "rotate").exit_code == 0
    assert run("ca", "rotate").exit_code == 0
    assert shown(run)["phase"] == "signing"


def test_the_old_ca_stays_while_a_join_string_pins_it(run: Run, stored: Stored) -> None:
    add_agent(stored, "a1", time.time() - RENEWABLE - 8 * DAY)
    assert run("agent", "invite", "berlin").exit_code == 0
    run("ca", "rotate")
    run("ca", "rotate")
    assert shown(run)["waits_for"] == {"agents": [], "join_strings": 1}
    assert "waits for 1 unused join string" in failed(run("ca", "rotate"), 1)
    forced = run("ca", "rotate", "--force")
    assert "1 unused join string" in forced.stderr
    assert shown(run)["phase"] == "steady"


def test_many_agents_are_counted_and_json_has_them_all(run: Run, stored: Stored) -> None:
    for number in range(23):
        add_agent(stored, f"a{number}", time.time() - DAY)
    result = run("ca", "rotate")
    assert "23 agents (berlin/a0, " in result.stdout
    assert "and 3 more)" in result.stdout
    assert len(shown(run)["waits_for"]["agents"]) == 23


def test_the_key_is_sealed_and_a_wrong_master_key_is_a_mistake_in_the_configuration(
    run: Run, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(run)["anchors"][0]["key"] == "plain"
    master = tmp_path / "master.key"
    master.write_bytes(bytes(range(32)))
    master.chmod(0o600)
    monkeypatch.setenv("PENSTOCK_RELAY_MASTER_KEY_FILE", str(master))
    assert re.fullmatch("sealed by [0-9a-f]{8}", shown(run)["anchors"][0]["key"])
    assert "PRIVATE KEY" not in (state / "ca.json").read_text()
    master.write_bytes(bytes(range(1, 33)))
    for command in (("ca", "show"), ("ca", "rotate"), ("site", "add", "berlin")):
        text = failed(run(*command), status=2)
        assert "sealed with the master key" in text
        assert str(master) in text
    monkeypatch.delenv("PENSTOCK_RELAY_MASTER_KEY_FILE")
    assert "master_key_file is not set" in failed(run("ca", "show"), status=2)


def test_the_check_of_the_configuration_reads_what_it_names(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "master_key_file = (not set)" in run("config", "check").stdout
    monkeypatch.setenv("PENSTOCK_RELAY_MASTER_KEY_FILE", str(tmp_path / "nothing"))
    assert "openssl rand -base64 32" in failed(run("config", "check"), status=2)
    monkeypatch.delenv("PENSTOCK_RELAY_MASTER_KEY_FILE")
    company = Company(tmp_path / "files")
    monkeypatch.setenv("PENSTOCK_RELAY_CA_CERT_FILE", str(company.source.certificate_file))
    assert "set both" in failed(run("config", "check"), status=2)
    monkeypatch.setenv("PENSTOCK_RELAY_CA_KEY_FILE", str(company.source.key_file))
    assert run("config", "check").exit_code == 0
    company.source.key_file.chmod(0o644)
    assert "chmod 640" in failed(run("config", "check"), status=2)


def test_a_ca_from_files_is_rotated_in_its_files(
    run: Run, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = Company(tmp_path / "files")
    monkeypatch.setenv("PENSTOCK_RELAY_CA_CERT_FILE", str(company.source.certificate_file))
    monkeypatch.setenv("PENSTOCK_RELAY_CA_KEY_FILE", str(company.source.key_file))
    found = shown(run)
    assert found["anchors"][0]["key"] == str(company.source.key_file)
    assert str(company.source.certificate_file) in found["next"]
    assert str(company.source.certificate_file) in failed(run("ca", "rotate"), 1)
    company.give(p256())
    found = shown(run)
    assert found["phase"] == "announced"
    assert [(a["role"], a["key"]) for a in found["anchors"]] == [
        ("signs", str(company.source.key_file)),
        ("trusted", "gone"),
    ]
    # The later steps can be taken here.
    assert run("ca", "rotate").exit_code == 0
    authority = CertificateAuthority.open(state, time.time(), source=company.source)
    assert authority.record.phase is Phase.SIGNING


def test_leaving_files_for_a_ca_of_the_relay_s_own_is_said_explicitly(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = Company(tmp_path / "files")
    with monkeypatch.context() as context:
        context.setenv("PENSTOCK_RELAY_CA_CERT_FILE", str(company.source.certificate_file))
        context.setenv("PENSTOCK_RELAY_CA_KEY_FILE", str(company.source.key_file))
        before = shown(run)["anchors"]
    for command in (("ca", "show"), ("ca", "rotate"), ("site", "add", "berlin")):
        assert "penstock-relay ca rotate --force" in failed(run(*command), 1)
    assert run("ca", "rotate", "--force").exit_code == 0
    found = shown(run)
    assert (found["phase"], len(found["anchors"])) == ("announced", 2)
    assert found["anchors"][1]["pin"] == before[0]["pin"]
    assert found["anchors"][0]["key"] == "plain"
