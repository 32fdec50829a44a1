"""The systemd units, checked by systemd's own tools (Debian: ``apt install systemd``); nothing is started."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from penstock_agent.children.pool import CLOSE_WAIT_S
from penstock_agent.daemon import daemon as agent_daemon
from penstock_relay import daemon as relay_daemon
from penstock_relay.config import Settings

FOLDER = Path(__file__).parents[2] / "systemd"
PROGRAMS = ("agent", "relay")
#: Ten times the exposure score of `systemd-analyze security`. Units of comparable programs score 90 and more.
THRESHOLD = 15


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def stage(root: Path, unit_text: str, program: str) -> Path:
    """A root with nothing but the unit and what it starts; returns the unit."""
    for path in (f"opt/penstock/bin/penstock-{program}", "bin/kill"):
        executable = root / path
        executable.parent.mkdir(parents=True)
        executable.write_text("#!/bin/sh\n")
        executable.chmod(0o755)
    unit = root / f"usr/lib/systemd/system/penstock-{program}.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(unit_text)
    return unit


def verify(root: Path, unit: Path) -> tuple[int, str]:
    """Status and every line of output. A misspelt key is only a line: no output at all is what counts."""
    done = run("systemd-analyze", "verify", f"--root={root}", "--man=no", "--recursive-errors=no", unit)
    return done.returncode, done.stdout + done.stderr


def unit_text(program: str) -> str:
    return (FOLDER / f"penstock-{program}.service").read_text()


def settings(program: str) -> dict[str, dict[str, list[str]]]:
    """Section -> key -> values, in order."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in unit_text(program).splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return found


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_verify_has_nothing_to_say(program: str, tmp_path: Path) -> None:
    assert verify(tmp_path, stage(tmp_path, unit_text(program), program)) == (0, "")


def test_drop_in_for_the_master_key_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text()
    (drop_in,) = re.findall(r"```ini\n(\[Service\]\nLoadCredential=.*?)```", text, re.DOTALL)
    unit = stage(tmp_path, unit_text("relay"), "relay")
    place = tmp_path / "etc/systemd/system/penstock-relay.service.d/override.conf"
    place.parent.mkdir(parents=True)
    place.write_text(drop_in)
    assert verify(tmp_path, unit) == (0, "")
    place.write_text(drop_in.replace("LoadCredential=", "LoadCredentials="))
    assert "LoadCredentials" in verify(tmp_path, unit)[1]
    # The service finds it where systemd puts it, under a name that is a setting.
    name, _, source = re.findall("LoadCredential=(.*)", drop_in)[0].partition(":")
    variable, _, path = re.findall("Environment=(.*)", drop_in)[0].partition("=")
    assert path == f"/run/credentials/penstock-relay.service/{name}"
    assert variable.removeprefix("PENSTOCK_RELAY_").lower() in Settings.model_fields
    assert f"> {source}" in text


def test_verify_would_name_a_misspelt_key(program: str, tmp_path: Path) -> None:
    text = unit_text(program).replace("NoNewPrivileges=", "NoNewPriviliges=")
    _, output = verify(tmp_path, stage(tmp_path, text, program))
    assert "NoNewPriviliges" in output


def test_verify_would_notice_that_nothing_can_be_started(program: str, tmp_path: Path) -> None:
    unit = stage(tmp_path, unit_text(program), program)
    (tmp_path / f"opt/penstock/bin/penstock-{program}").unlink()
    status, _ = verify(tmp_path, unit)
    assert status != 0


def test_exposure_stays_below_the_threshold(program: str) -> None:
    done = run(
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={THRESHOLD}",
        "--no-pager",
        FOLDER / f"penstock-{program}.service",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_exposure_threshold_would_catch_a_unit_without_sandbox(program: str, tmp_path: Path) -> None:
    bare = unit_text(program).split("# --- Sandbox")[0]
    unit = stage(tmp_path, bare, program)
    done = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={THRESHOLD}", "--no-pager", unit
    )
    assert done.returncode != 0


def test_nothing_is_granted_that_the_comments_do_not_name(program: str) -> None:
    done = run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--json=short",
        FOLDER / f"penstock-{program}.service",
    )
    exposed = {item["json_field"] for item in json.loads(done.stdout) if item["set"] is False}
    needed = {
        "RootDirectoryOrRootImage",
        "ProcSubset",
        "PrivateNetwork",
        "DeviceAllow",
        "IPAddressDeny",
        "RestrictAddressFamilies_AF_INET_INET6",
        "RestrictAddressFamilies_AF_UNIX",
    }
    children = {
        "MemoryDenyWriteExecute",
        "RestrictAddressFamilies_AF_NETLINK",
        "RestrictNamespaces_user",
    }
    assert exposed - needed == (children if program == "agent" else set())


def test_children_of_the_agent_keep_what_node_and_python_need() -> None:
    service = settings("agent")["Service"]
    assert "MemoryDenyWriteExecute" not in service
    assert "ProcSubset" not in service
    assert "AF_NETLINK" in service["RestrictAddressFamilies"][0].split()
    # A refused system call is an error that a child can report, not its death.
    assert service["SystemCallErrorNumber"] == ["EPERM"]


def test_the_agent_may_use_what_it_confines_children_with() -> None:
    service = settings("agent")["Service"]
    assert service["RestrictNamespaces"] == ["user"]
    # After the lists that take away: in this order systemd adds it.
    assert service["SystemCallFilter"][-1].split() == [
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ]
    for denied in service["SystemCallFilter"][1:-1]:
        assert denied.startswith("~")


def test_program_is_restarted_except_where_that_cannot_help(program: str) -> None:
    unit, service = settings(program)["Unit"], settings(program)["Service"]
    assert service["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert set(service["RestartPreventExitStatus"][0].split()) == {"2", "3"}


def test_unconfigured_install_is_not_a_failed_unit() -> None:
    assert settings("agent")["Unit"]["ConditionPathExists"] == ["/var/lib/penstock-agent/agent.json"]
    assert settings("relay")["Unit"]["ConditionPathExists"] == ["/etc/penstock-relay/relay.toml"]


def test_unit_starts_the_documented_command() -> None:
    assert settings("agent")["Service"]["ExecStart"] == ["/opt/penstock/bin/penstock-agent run"]
    assert settings("relay")["Service"]["ExecStart"] == ["/opt/penstock/bin/penstock-relay serve"]


def test_program_gets_the_time_that_it_needs_to_stop(program: str) -> None:
    drain = {"agent": agent_daemon.DRAIN + CLOSE_WAIT_S, "relay": relay_daemon.DRAIN}[program]
    assert int(settings(program)["Service"]["TimeoutStopSec"][0]) >= drain + 10


def test_agent_is_told_to_read_its_configuration_again_and_watched() -> None:
    service = settings("agent")["Service"]
    assert service["Type"] == ["notify"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(service["WatchdogSec"][0]) > 0


def test_environment_names_the_folders_that_systemd_makes(program: str) -> None:
    service = settings(program)["Service"]
    environment = dict(value.split("=", 1) for value in service["Environment"])
    prefix = f"PENSTOCK_{program.upper()}_"
    assert environment[f"{prefix}STATE_DIR"] == f"/var/lib/{service['StateDirectory'][0]}"
    assert service["StateDirectoryMode"] == ["0700"]
    if program == "agent":
        assert environment[f"{prefix}RUNTIME_DIR"] == f"/run/{service['RuntimeDirectory'][0]}"
        # Named, the file would have to exist; it does not right after `join`.
        assert f"{prefix}CONFIG" not in environment


def test_every_line_of_the_sandbox_stands_below_a_comment_that_says_why(program: str) -> None:
    sandbox = unit_text(program).split("# --- Sandbox", 1)[1].partition("\n")[2].split("[Install]")[0]
    for block in sandbox.strip().split("\n\n"):
        assert block.splitlines()[0].startswith("#"), block


def test_sysusers_makes_the_user_of_the_unit(program: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    target = tmp_path / f"usr/lib/sysusers.d/penstock-{program}.conf"
    target.parent.mkdir(parents=True)
    shutil.copy(FOLDER / f"penstock-{program}.sysusers.conf", target)
    done = run("systemd-sysusers", f"--root={tmp_path}")
    assert done.returncode == 0, done.stderr
    name, _, uid, gid, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    service = settings(program)["Service"]
    assert [name] == service["User"] == service["Group"]
    assert int(uid) > 0
    assert int(gid) > 0
    assert home == f"/var/lib/{service['StateDirectory'][0]}"
    assert shell == "/usr/sbin/nologin"


def test_configuration_folder_is_roots_and_readable_to_the_unit_alone(program: str) -> None:
    lines = [
        line.split()
        for line in (FOLDER / f"penstock-{program}.tmpfiles.conf").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    service = settings(program)["Service"]
    mode = service["ConfigurationDirectoryMode"][0]
    folder = f"/etc/{service['ConfigurationDirectory'][0]}"
    assert lines == [["d", folder, mode, "root", service["Group"][0], "-"]]
    assert int(mode, 8) & 0o027 == 0
