"""What a running relay does for its audit log: says that it runs, writes what was counted, shows the head."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import __version__, log
from penstock_relay.audit import Kind
from penstock_relay.audit.tally import WINDOW_S
from penstock_relay.config import Settings
from penstock_relay.store import Store

HEAD_EVERY: Final = 1440
"""Windows between two lines with the head: a day. Logs are kept elsewhere, and there it proves something."""

_log = log.get(__name__)


@asynccontextmanager
async def recorded(store: Store, settings: Settings) -> AsyncIterator[None]:
    """Around a life of the relay. Raises SQLAlchemyError: what cannot record its start must not run."""
    await store.audit.happened(
        Kind.RELAY_STARTED,
        version=__version__,
        public_url=settings.public_url,
        config=digest_of(settings),
    )
    try:
        await say_head(store)
        yield
    finally:
        try:
            await store.audit.flush()
            await store.audit.happened(Kind.RELAY_STOPPED)
            await say_head(store)
        except (SQLAlchemyError, OSError) as error:
            _log.error("audit_not_written", cause=type(error).__name__)


async def keep(store: Store, window: float = WINDOW_S) -> NoReturn:
    """Writes what was counted each ``window`` seconds, for ever. A TaskGroup owns it."""
    turn = 0
    while True:
        await asyncio.sleep(window)
        turn += 1
        try:
            await store.audit.flush()
            if turn % HEAD_EVERY == 0:
                await say_head(store)
        except (SQLAlchemyError, OSError) as error:
            # It is counted still, and written with the next.
            _log.error("audit_not_written", cause=type(error).__name__)


async def say_head(store: Store) -> None:
    """Raises SQLAlchemyError."""
    _log.info("audit_head", head=str(await store.audit.head()))


def digest_of(settings: Settings) -> str:
    """The same for the same settings, so that two starts can be compared: 64 bits of their SHA-256."""
    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
