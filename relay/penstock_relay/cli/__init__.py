"""The ``penstock-relay`` command."""

import sys
from importlib.util import find_spec
from typing import Final

EXTRA: Final = (
    "aiohttp",
    "aiosqlite",
    "alembic",
    "argon2",
    "jinja2",
    "prometheus_client",
    "pydantic_settings",
    "sqlalchemy",
)
"""What only the relay needs. Both commands exist after a plain install; this one works with the extra."""


def main() -> None:
    """Entry point. Exit status: 0 done, 1 failed, 2 usage or configuration."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"penstock-relay: the relay's libraries are not installed (missing: {', '.join(missing)}).\n"
            "Install them with: pip install 'penstock[relay]'\n"
        )
        sys.exit(2)
    from penstock_relay.cli.app import app

    app(prog_name="penstock-relay")


__all__ = ["main"]
