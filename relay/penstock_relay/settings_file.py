"""Where the relay's settings are read: TOML, overridden by ``PENSTOCK_RELAY_*``.

A setting that is unknown, or that this version would not enforce, is refused: a relay that silently
ignores a line of its configuration is a relay that is not configured as its operator believes.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from penstock_relay.config import ENV_PREFIX, ConfigError, Settings

CONFIG_VARIABLE: Final = "PENSTOCK_RELAY_CONFIG"
DEFAULT_CONFIG: Final = Path("/etc/penstock-relay/relay.toml")
"""Read when it is there and no other file is named."""

_NO_TLS: Final = "The public listener of this version speaks HTTP: let a reverse proxy terminate TLS."

# Settings of the documented surface that this version could not honour.
NOT_ENFORCED: Final[Mapping[str, str]] = {
    "console_listen": "This version has no console; remove the setting.",
    "nats_url": "This version runs as one replica; remove the setting and run a single relay.",
    "tls_cert": _NO_TLS,
    "tls_key": _NO_TLS,
}

# Kubernetes gives every pod variables for each Service of its namespace, so that a Service called
# penstock-relay looks like settings of ours. They are not, and they are not typing mistakes either.
_SERVICE_LINK: Final = re.compile(
    r"([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def load(config: Path | None = None) -> Settings:
    """The settings of ``config``, or of the file that ``PENSTOCK_RELAY_CONFIG`` names, or of
    ``DEFAULT_CONFIG`` if it exists; each overridden by its ``PENSTOCK_RELAY_*`` variable. Raises ConfigError.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = config or (Path(named) if named else DEFAULT_CONFIG)
    content = _read(path, may_be_missing=config is None and not named)
    for key in content:
        _known(key, f"{path}: {key}")
    for variable in os.environ:
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE:
            setting = name.removeprefix(ENV_PREFIX)
            if not _SERVICE_LINK.fullmatch(setting):
                _known(setting.lower(), variable)
    try:
        return Settings(**content)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentences(error))) from None


def _read(path: Path, *, may_be_missing: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise ConfigError(
            f"Cannot read the configuration {path}: Permission denied. Run as root or as the relay's user, "
            "or name another file with --config."
        ) from None
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None


def _known(key: str, shown: str) -> None:
    if key in NOT_ENFORCED:
        raise ConfigError(f"{shown} is not enforced by this version. {NOT_ENFORCED[key]}")
    if key not in Settings.model_fields:
        near = difflib.get_close_matches(key, Settings.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else "the settings are " + ", ".join(Settings.model_fields)
        raise ConfigError(f"{shown} is not a setting of the relay; {hint}")


def _sentences(error: ValidationError) -> list[str]:
    return [
        ": ".join(
            filter(None, (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")))
        )
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
