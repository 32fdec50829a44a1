"""``penstock-agent config check``: every setting, where it came from, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from penstock_agent.cli import effective
from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say
from penstock_agent.cli.mistakes import look_at_agent, look_at_confinement, look_at_server
from penstock_agent.problem import Exit

if TYPE_CHECKING:
    from penstock_agent.config import Settings


def check(config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False) -> None:
    """Check agent.toml and the state folder; list the settings in effect. Exit status 2 for mistakes."""
    with problems(json):
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        wrong, notes = _look(settings)
        if json:
            found = {"config_file": str(settings.config_file), "problems": wrong, "notes": notes}
            emit({**found, **effective.as_json(settings)})
        else:
            effective.show(settings)
            _show(wrong, notes)
    raise typer.Exit(Exit.USAGE if wrong else Exit.DONE)


def _look(settings: Settings) -> tuple[list[str], list[str]]:
    """What is wrong, and what is only worth knowing."""
    from penstock_agent import state
    from penstock_agent.settings_file import ConfigError

    wrong: list[str] = []
    notes: list[str] = []
    try:
        joined = state.load(settings.state_dir)
        settings.proxy_for(joined.relay_url)
    except state.NotJoined as e:
        notes.append(str(e))
    except (state.StateError, ConfigError) as e:
        wrong.append(str(e))
    look_at_agent(settings, wrong, notes)
    for name, server in settings.servers.items():
        if server.url is None:
            look_at_confinement(name, server, wrong, notes)
        look_at_server(settings, name, server, wrong, notes)
    _look_at_imported(settings, notes)
    return wrong, notes


def _look_at_imported(settings: Settings, notes: list[str]) -> None:
    """What import opened and nobody has accepted yet."""
    from penstock_agent.cli.trying import not_reviewed

    notes += [
        f"servers.{name}: import wrote {', '.join(keys)}, which nobody has reviewed. Look at it, then: "
        f"penstock-agent servers accept {name}"
        for name, keys in not_reviewed(settings).items()
    ]


def _show(wrong: list[str], notes: list[str]) -> None:
    for text in notes:
        say(f"note: {text}")
    for text in wrong:
        say(f"WRONG: {text}")
    say("Something is wrong." if wrong else "The configuration is good.")
