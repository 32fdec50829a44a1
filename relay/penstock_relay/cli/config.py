"""``penstock-relay config``."""

import time
from typing import TYPE_CHECKING, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    JsonOption,
    guarded,
    say,
    say_json,
    settings_of,
    wants_json,
)

if TYPE_CHECKING:
    from penstock_relay.config import Settings

_UNSET: Final = {"upstream": "(none)", "allowed_clients": "(all)"}


@guarded
def check(ctx: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check the configuration and show what is in force.

    Status 2 when `serve` would refuse it.
    """
    settings = settings_of(ctx, config)
    settings.check()
    _check_secrets(settings)
    shown = settings.model_dump(mode="json")
    shown["database_url"] = settings.database
    # With port 0 only the running relay knows its URLs.
    if settings.listen.port != 0:
        shown["public_url"] = settings.public_url_at(settings.listen)
    if settings.tunnel_listen.port != 0:
        shown["tunnel_url"] = settings.tunnel_url_at(settings.tunnel_listen)
    if wants_json(ctx, json):
        say_json({"ok": True, "settings": shown})
        return
    say("The configuration is good. In force:")
    for key, value in shown.items():
        say(f"  {key} = {_text(key, value)}")


def _check_secrets(settings: "Settings") -> None:
    """Raises SealError, ConfigError."""
    from penstock_relay import sealed
    from penstock_relay.ca import CaError
    from penstock_relay.ca.opening import source_of
    from penstock_relay.config import ConfigError

    sealed.read(settings.master_key_file, settings.state_dir)
    source = source_of(settings)
    try:
        if source is not None:
            source.load(time.time())
    except CaError as error:
        raise ConfigError(str(error)) from None


def _text(key: str, value: object) -> str:
    if value is None:
        return "(known once the relay runs)" if key.endswith("_url") else "(not set)"
    if isinstance(value, dict):
        return "; ".join(f"{inner}: {_text(inner, each)}" for inner, each in value.items())
    if isinstance(value, list):
        # Of a table, what it is about; --json has all of it.
        words = [str(each["url"]) if isinstance(each, dict) else str(each) for each in value]
        return ", ".join(words) or "(none)"
    return str(value)
