"""Second factors in the store: made, and their codes checked, each of which is good once."""

from __future__ import annotations

import secrets
from enum import Enum
from typing import Final

from penstock import log
from penstock_relay import audit
from penstock_relay.oauth.factor import recovery, totp
from penstock_relay.oauth.factor.tries import CodeTries
from penstock_relay.sealed import Keyring, SealError
from penstock_relay.store import Factor, Store, User

PURPOSE: Final = "totp"
"""What keys are sealed for in the store."""

_log = log.get(__name__)


def new_key() -> bytes:
    """For a factor that there may be."""
    return secrets.token_bytes(totp.KEY_BYTES)


class Checked(Enum):
    """What came of a code."""

    CODE = "password_and_code"
    RECOVERY_CODE = "password_and_recovery_code"
    WRONG = "wrong"
    OFTEN = "often"
    """It was not judged: there were too many wrong ones."""

    @property
    def good(self) -> bool:
        return self in (Checked.CODE, Checked.RECOVERY_CODE)


class Codes:
    """One per replica: it counts the tries. `keyring` seals the keys of factors."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._tries = CodeTries()

    async def check(self, user: str, device: str | None, text: str, now: float) -> Checked:
        """Uses up the code, or recovery code, in `text`; `device`: where the user has logged in before."""
        if not self._tries.begin(user, device, now):
            _log.warning("code_refused", user=user)
            return Checked.OFTEN
        found = await self._judge(user, recovery.digits(text), now)
        if found.good:
            self._tries.succeeded(user, device)
        else:
            _log.warning("code_failed", user=user)
        return found

    async def _judge(self, user: str, digits: str, now: float) -> Checked:
        if len(digits) == recovery.LENGTH:
            own = self._store.by(audit.user(user)).factors
            left = await own.use_recovery(user, recovery.digest(user, digits))
            return Checked.WRONG if left is None else Checked.RECOVERY_CODE
        kept = await self._store.factors.find(user)
        key = None if kept is None else self._opened(kept)
        step = None if key is None else totp.step_of(key, digits, now)
        if kept is None or step is None or not await self._store.factors.use_step(kept, step):
            return Checked.WRONG
        return Checked.CODE

    async def add(
        self, user: User, key: bytes, digits: str, now: float, keep: bytes | None = None
    ) -> list[str] | None:
        """Makes `key` the user's second factor, if `digits` is a code of it, which is used up by that.

        Returns the recovery codes. None when the code is wrong; an empty list when the user has a factor
        already, or another password than `user` says. `keep` is the login that goes on, of all.
        """
        step = totp.step_of(key, digits, now)
        if step is None:
            return None
        codes = recovery.new_codes()
        hashes = [recovery.digest(user.name, recovery.digits(each)) for each in codes]
        factor = Factor(user.name, self._keyring.seal(PURPOSE, key), now, step)
        own = self._store.by(audit.user(user.name)).factors
        added = await own.add(factor, hashes, password_hash=user.password_hash, keep=keep)
        if added:
            _log.info("factor_added", user=user.name)
        return codes if added else []

    def _opened(self, factor: Factor) -> bytes | None:
        try:
            return self._keyring.open(PURPOSE, factor.secret)
        except SealError:
            # The user's recovery codes are good still, and the operator can reset the factor.
            _log.error("factor_unreadable", user=factor.user)
            return None


async def seal_again(store: Store, keyring: Keyring) -> None:
    """Seals keys that lie plain, or are sealed by an older master key, with the first of `keyring`.

    One that does not open stays as it is, and the log names its user.
    """
    for factor in await store.factors.all():
        if keyring.fresh(factor.secret):
            continue
        try:
            key = keyring.open(PURPOSE, factor.secret)
        except SealError as error:
            _log.error("factor_unreadable", user=factor.user, cause=str(error))
            continue
        await store.factors.seal_again(factor, keyring.seal(PURPOSE, key))
