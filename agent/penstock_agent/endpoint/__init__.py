"""The agent's MCP endpoint: exchanges in, conversations with children out.

In reading order: ``versions``, ``limits`` and ``failures`` (what is promised), ``correlate``, ``held`` and
``streams`` (pure, or nearly), ``lifeline`` (one child after another), ``session`` (what goes where),
``calls`` and ``answers`` (one HTTP response), ``offers`` (what a consent page shows), ``sessions`` (all of
them), ``shared`` (what every era works with), ``handshake`` and ``modern`` (an era each), ``channel`` and
``httpsse`` (the first transport of the older one), ``endpoint`` (the way in).
"""

from penstock_agent.endpoint.endpoint import Endpoint, ServerStatus, Status
from penstock_agent.endpoint.limits import Limits

__all__ = ["Endpoint", "Limits", "ServerStatus", "Status"]
