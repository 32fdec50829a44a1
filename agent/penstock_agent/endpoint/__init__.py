"""The agent's MCP endpoint: exchanges in, conversations with children out.

In reading order: ``versions``, ``limits`` and ``failures`` (what is promised), ``correlate``, ``held``,
``streams`` and ``eventlog`` (pure, or nearly), ``lifeline`` (one child after another) and ``replies``,
``beginning``, ``standing``, ``manners``, ``memory`` and ``resumption`` (of one session), ``handshaking``
(what sessions see of newer servers), ``dialogue`` (what goes where) and ``session`` (its life), ``calls``,
``batches``, ``recall``,
``listening`` and ``answers`` (one HTTP response), ``offers`` (what a consent page shows), ``sessionids`` and
``sessions`` (all of them), ``shared`` (what every era works with), ``handshake``, ``modern`` and ``bridge``
(an era each, and the way from one to the other), ``channel`` and ``httpsse`` (the first transport of the
older one), ``endpoint`` (the way in).
"""

from penstock_agent.endpoint.endpoint import Endpoint, ServerStatus, Status
from penstock_agent.endpoint.limits import Limits

__all__ = ["Endpoint", "Limits", "ServerStatus", "Status"]
