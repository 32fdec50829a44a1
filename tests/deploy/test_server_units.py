"""The units that `servers harden` writes, checked by systemd's own tools; nothing is started."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_agent.hardening.text import Site, service_unit, socket_unit
from penstock_agent.server_settings import ServerSettings
from tests.deploy.test_systemd import run

SITE = Site(
    agent="root",
    python="/opt/penstock/bin/python",
    program="/opt/penstock/unit_main.py",
    token=Path("/var/lib/penstock-agent/units/files.token"),
    state_dir=Path("/var/lib/penstock-agent"),
    closed=["/etc/penstock-agent", "/run/penstock-agent"],
    empty=["/srv"],
)
FULL = {
    "command": ["/usr/bin/srv", "--words", 'a "b" 50% $HOME ; \\', "line\nbreak"],
    "env": {"TOKEN": "file:/etc/tok", "WORDS": 'a "b" 50% $X'},
    "read": ["/srv/share"],
    "write": ["/srv/inbox"],
    "limits": {"cpu_seconds": 100, "file_size": "1GiB"},
}
#: Ten times the exposure: with the machine's network, and with none.
MOST = {"host": 11, "none": 2}


def stage(root: Path, network: str, text: str = "") -> Path:
    """A root with nothing but the units and what they start; returns the service, as an instance."""
    server = ServerSettings.model_validate({**FULL, "network": network})
    program = root / "opt/penstock/bin/python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    folder = root / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    (folder / "penstock-server-files.socket").write_text(socket_unit("files", SITE))
    unit = folder / "penstock-server-files@.service"
    unit.write_text(text or service_unit("files", server, SITE))
    instance = folder / "penstock-server-files@1.service"
    shutil.copy(unit, instance)
    return instance


def verify(root: Path, *units: Path) -> tuple[int, str]:
    done = run("systemd-analyze", "verify", f"--root={root}", "--man=no", "--recursive-errors=no", *units)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("network", MOST)
def test_verify_has_nothing_to_say(network: str, tmp_path: Path) -> None:
    service = stage(tmp_path, network)
    assert verify(tmp_path, service, service.with_name("penstock-server-files.socket")) == (0, "")


def test_verify_would_name_a_misspelt_key(tmp_path: Path) -> None:
    text = service_unit("files", ServerSettings.model_validate(FULL), SITE)
    _, output = verify(tmp_path, stage(tmp_path, "none", text.replace("BindPaths=", "BindPath=")))
    assert "BindPath" in output


@pytest.mark.parametrize("network", MOST)
def test_exposure_stays_below_the_threshold(network: str, tmp_path: Path) -> None:
    most = f"--threshold={MOST[network]}"
    done = run("systemd-analyze", "security", "--offline=true", most, "--no-pager", stage(tmp_path, network))
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_granted_beside_what_interpreters_need(tmp_path: Path) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--json=short", stage(tmp_path, "none"))
    exposed = {item["json_field"] for item in json.loads(done.stdout) if item["set"] is False}
    assert exposed <= {
        "RootDirectoryOrRootImage",
        "ProcSubset",
        "DeviceAllow",
        "MemoryDenyWriteExecute",
        "RestrictAddressFamilies_AF_UNIX",
        "RestrictAddressFamilies_AF_NETLINK",
    }


def test_a_group_for_data_costs_little(tmp_path: Path) -> None:
    server = ServerSettings.model_validate({**FULL, "network": "none"})
    text = service_unit("files", server, replace(SITE, groups=["mail"], programs=["/home/x/.nvm"]))
    done = run(
        "systemd-analyze", "security", "--offline=true", "--threshold=10", "--no-pager",
        stage(tmp_path, "none", text),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
