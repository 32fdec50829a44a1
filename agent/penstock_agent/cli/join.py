"""``penstock-agent join``: become an agent of a site."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say
from penstock_agent.problem import Problem

if TYPE_CHECKING:
    from penstock_agent.config import Settings

UNIT = "penstock-agent.service"
#: Present only where systemd is the running service manager (sd_booted(3)).
SYSTEMD_RUNS = Path("/run/systemd/system")
LINK_WAIT_S = 20.0
_MAX_STDIN = 4096


def join(
    join_string: Annotated[
        str, typer.Argument(metavar="JOIN_STRING", help="What penstock-relay printed; - reads it from stdin.")
    ],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Join although this folder has joined before: its old identity is given up."
        ),
    ] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Make this agent's key, and have the relay let it in. Twice is harmless.

    As root, files are handed to the user penstock-agent, and the service is enabled and started where it is
    installed.
    """
    with problems(json):
        from penstock_agent.config import Options, load
        from penstock_agent.enrolment import enrol

        settings = load(Options(config, state_dir))
        # Standard input, because arguments can be seen by every user of the machine.
        text = sys.stdin.read(_MAX_STDIN) if join_string == "-" else join_string
        outcome = enrol.join(text, settings, replace=replace)
        joined = outcome.joined
        if not json:
            if outcome.new:
                say(
                    f"Joined the site {joined.id.site} as {joined.id.agent}. "
                    f"Key and certificate: {joined.folder}"
                )
                if replace:
                    say("An agent that runs here uses the new identity once it is started again.")
            else:
                say(
                    f"Already joined the site {joined.id.site} as {joined.id.agent}; "
                    "the join string was not used."
                )
            say(f"Fingerprint: {joined.fingerprint}")
            if outcome.approval:
                say(
                    "The site requires approval: the relay's operator compares this fingerprint and runs "
                    f"penstock-relay agent approve {joined.id.site} {joined.id.agent} --fingerprint "
                    f"{joined.fingerprint}. Until then the agent waits."
                )
        service = start_service(settings)
        linked = _wait_for_link(settings) if service else ""
        steps = _next(settings, started=service)
        if json:
            emit(
                {
                    "site": joined.id.site,
                    "agent": joined.id.agent,
                    "relay_url": joined.relay_url,
                    "new": outcome.new,
                    "fingerprint": joined.fingerprint,
                    "approval_required": outcome.approval,
                    "state_dir": str(joined.folder),
                    "certificate_expires": joined.expires.isoformat(),
                    "service_started": service,
                    "link": linked,
                    "next": steps,
                }
            )
            return
        if linked:
            say(linked)
        for step in steps:
            say(f"Next: {step}")


def start_service(settings: Settings) -> bool:
    """Enable and start the unit: as root, under systemd, where it is installed and uses these settings.

    Raises :exc:`Problem` when systemd refuses.
    """
    from penstock_agent.config import DEFAULT_CONFIG, DEFAULT_STATE_DIR

    ours = settings.state_dir == DEFAULT_STATE_DIR and settings.config_file == DEFAULT_CONFIG
    if os.geteuid() != 0 or not ours or not SYSTEMD_RUNS.is_dir():
        return False
    try:
        if _systemctl("cat", UNIT).returncode != 0:
            return False
        done = _systemctl("enable", "--now", UNIT)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    if done.returncode != 0:
        raise Problem(f"This agent has joined, but {UNIT} did not start. Look at: systemctl status {UNIT}")
    return True


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def _wait_for_link(settings: Settings) -> str:
    """What became of the link, in words."""
    from penstock_agent import control

    try:
        link = asyncio.run(control.link(control.socket_to_ask(settings), LINK_WAIT_S))
    except control.ControlError as e:
        return f"The service is started; whether it has a link is not known yet: {e}"
    if link.linked:
        return "The service runs and has a link to the relay."
    return f"The service runs, but has no link yet: {link.problem or 'still connecting'}"


def _next(settings: Settings, *, started: bool) -> list[str]:
    from penstock_agent.config import DEFAULT_CONFIG, DEFAULT_STATE_DIR

    steps = []
    where = ""
    if settings.config_file != DEFAULT_CONFIG:
        where += f" --config {settings.config_file}"
    if settings.state_dir != DEFAULT_STATE_DIR:
        where += f" --state-dir {settings.state_dir}"
    if not started:
        steps.append(f"penstock-agent run{where}")
    if not settings.servers:
        steps.append(f"add a [servers.NAME] table with a command to {settings.config_file}")
    name = next(iter(settings.servers), "NAME")
    steps.append(f"penstock-agent expose {name}{where}")
    return steps
