"""The service manager: ``sd_notify`` over a datagram socket, and an environment children may inherit from.

Without a service manager every call does nothing, so that callers need not ask.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

# What a service manager tells its own child; a grandchild that read it could report in our name.
_PRIVATE = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "CREDENTIALS_DIRECTORY",
    "LISTEN_PID",
    "LISTEN_FDS",
)
_PRIVATE_PREFIX = "LISTEN_"


class Notifier:
    """Reports the state of this process to the service manager that started it, if one did."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        #: The watchdog's limit in seconds, None when it is off; send :meth:`watchdog` at half of it.
        self.watchdog_s = watchdog_s
        # "@name" is the documented spelling of an abstract socket, which the kernel wants with a NUL.
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        )
        if self._socket is not None:
            self._socket.setblocking(False)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Take the service manager's variables out of ``environ``. Call it once, at the start."""
        address = environ.get("NOTIFY_SOCKET")
        watchdog_s: float | None = None
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(KeyError, ValueError):
                watchdog_s = int(environ["WATCHDOG_USEC"]) / 1e6
        for name in [n for n in environ if n in _PRIVATE or n.startswith(_PRIVATE_PREFIX)]:
            del environ[name]
        # Only local sockets: "vsock:" and the like are for containers that we do not run as.
        return cls(address if address and address[0] in "/@" else None, watchdog_s)

    def ready(self, status: str = "") -> None:
        """Configuration and key are good; ``status`` is one line for ``systemctl status``."""
        self._send("READY=1", status)

    def status(self, status: str) -> None:
        """Say in one line what is going on."""
        self._send("", status)

    def reloading(self) -> None:
        """The configuration is being read again; :meth:`ready` ends it."""
        self._send("RELOADING=1")

    def stopping(self, status: str = "") -> None:
        """The process is on its way out."""
        self._send("STOPPING=1", status)

    def watchdog(self) -> None:
        """The event loop still turns."""
        self._send("WATCHDOG=1")

    def _send(self, assignment: str, status: str = "") -> None:
        if self._socket is None or self._address is None:
            return
        lines = [assignment] if assignment else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        # A service manager that is gone or slow must not stop the agent.
        with suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Release the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
