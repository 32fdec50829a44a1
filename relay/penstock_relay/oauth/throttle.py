"""How often a password may be guessed. Pure."""

from __future__ import annotations

from typing import Final

MAX_FAILURES: Final = 10
WINDOW_S: Final = 900.0
"""After so many failures in so long a name must wait until the window is over."""
MAX_NAMES: Final = 10_000


class Throttle:
    """Failures by user name, whether or not there is such a user; or by whatever else is tried for."""

    def __init__(self, most: int = MAX_FAILURES, window_s: float = WINDOW_S) -> None:
        self._most = most
        self._window_s = window_s
        self._failures: dict[str, tuple[float, int]] = {}

    def refuses(self, name: str, now: float) -> bool:
        began, count = self._failures.get(name, (now, 0))
        return count >= self._most and now < began + self._window_s

    def failed(self, name: str, now: float) -> None:
        began, count = self._failures.pop(name, (now, 0))
        if now >= began + self._window_s:
            began, count = now, 0
        if len(self._failures) >= MAX_NAMES:
            del self._failures[self._least(now)]
        self._failures[name] = (began, count + 1)

    def _least(self, now: float) -> str:
        """Whom to forget: never a name that must wait, as long as there is another one."""
        waits = (
            began + self._window_s > now and count >= self._most for began, count in self._failures.values()
        )
        free = (name for name, waiting in zip(self._failures, waits, strict=True) if not waiting)
        return next(free, next(iter(self._failures)))

    def succeeded(self, name: str) -> None:
        self._failures.pop(name, None)
