"""What agents say waits for their site's administrator: of each that is linked, the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, select, tuple_

from penstock.names import AgentId
from penstock.tunnel.frames import Notice
from penstock_relay.store.database import Database
from penstock_relay.store.models import NoticeRow


@dataclass(frozen=True, slots=True)
class StoredNotice:
    notice: Notice
    stored_at: float


class Notices:
    """They come and go with links, and nothing follows from them: so the audit log does not have them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, notices: Sequence[tuple[AgentId, Notice | None]], *, afresh: bool = False) -> None:
        """Stores what each of these agents, which must be enrolled, says now; None for one that is away.

        All in one transaction. An agent stands among them once. `afresh`: all others are away.
        """
        now = self._database.now()
        rows = [
            {
                "site": agent.site,
                "agent": agent.agent,
                "withheld": notice.withheld,
                "waiting": notice.waiting,
                "ledger_failing": notice.ledger_failing,
                "paused": notice.paused,
                "stored_at": now,
            }
            for agent, notice in notices
            if notice is not None
        ]
        names = [(agent.site, agent.agent) for agent, _ in notices]
        async with self._database.appending() as connection:
            old = delete(NoticeRow)
            if not afresh:
                old = old.where(tuple_(NoticeRow.site, NoticeRow.agent).in_(names))
            await connection.execute(old)
            if rows:
                await connection.execute(insert(NoticeRow), rows)

    async def list(self, site: str | None = None) -> dict[AgentId, StoredNotice]:
        """Of the agents of ``site``, or of all sites."""
        query = _COLUMNS if site is None else _COLUMNS.where(NoticeRow.site == site)
        async with self._database.reading() as connection:
            return {
                AgentId(name, agent): StoredNotice(Notice(withheld, waiting, failing, paused), stored_at)
                for name, agent, withheld, waiting, failing, paused, stored_at in (
                    await connection.execute(query)
                )
            }


_COLUMNS: Final = select(
    NoticeRow.site,
    NoticeRow.agent,
    NoticeRow.withheld,
    NoticeRow.waiting,
    NoticeRow.ledger_failing,
    NoticeRow.paused,
    NoticeRow.stored_at,
)
