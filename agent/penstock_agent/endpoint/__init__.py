"""The agent's MCP endpoint: exchanges in, conversations with children out.

In this folder is what all eras share. In reading order: ``versions``, ``limits`` and ``failures`` (what is
promised), ``streams``, ``lifeline`` (one child after another) and ``replies``, ``manners``, ``memory`` and
``recall`` (what real clients need), ``answers`` (one HTTP response), ``offers`` (what a consent page shows),
``shared`` (what every era works with), ``endpoint`` (the way in).

``session`` is one session of the handshake era, ``handshake`` that era over HTTP, ``modern`` the one without
sessions, ``bridge`` the way from each to the other.
"""

from penstock_agent.endpoint.endpoint import Endpoint, ServerStatus, Status
from penstock_agent.endpoint.limits import Limits

__all__ = ["Endpoint", "Limits", "ServerStatus", "Status"]
