"""Where users of this relay's own come in, once they have proved all that was asked."""

from __future__ import annotations

from penstock import log
from penstock.http import Headers
from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.oauth.tries import Tries
from penstock_relay.oauth.visit import Visits
from penstock_relay.oauth.web import Asked
from penstock_relay.store import Store, User

_log = log.get(__name__)


class Entrance:
    """`tries` are those of passwords: a try counts as failed until its user is in, with all factors."""

    def __init__(self, store: Store, visits: Visits, tries: Tries) -> None:
        self._store = store
        self._visits = visits
        self.tries = tries

    async def enter(
        self, asked: Asked, user: User, method: str, now: float, *, alone: bool = False
    ) -> Headers | None:
        """The cookies of a browser where `user` is logged in from now on. Records `method`.

        None when the user has been disabled since, or has another password; or a second factor, where the
        password was `alone`.
        """
        device = self._visits.device(asked, user.name, now)
        entered = await self._visits.enter(user, now, alone=alone)
        if entered is None:
            return None
        self.tries.succeeded(user.name, device, asked.peer)
        _log.info("login", user=user.name)
        await self._store.by(audit.user(user.name)).audit.happened(Kind.LOGIN, method=method)
        return entered
