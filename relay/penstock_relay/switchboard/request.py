"""What the tunnel is asked to carry for a call. Pure."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from penstock.principal import Principal
from penstock.tunnel.frames import Method
from penstock.tunnel.frames import Principal as PrincipalFrame
from penstock.tunnel.limits import MAX_PRINCIPAL
from penstock.tunnel.origin_exchange import Request
from penstock_relay.switchboard.calls import Call

_METHODS: Final = {"GET": Method.GET, "POST": Method.POST, "DELETE": Method.DELETE}
_MAX_DEADLINE_MS: Final = 2**32 - 1


def request_of(call: Call, left: float) -> Request:
    """The request of `call`, `left` seconds before its deadline. ValueError for too many claims."""
    digest, content = _content(call.principal)
    return Request(
        site=call.site,
        server=call.server,
        method=_METHODS[call.method],
        purpose=call.purpose,
        headers=call.headers,
        body=call.body,
        digest=digest,
        principal=content,
        deadline_ms=min(int(left * 1000), _MAX_DEADLINE_MS),
    )


@lru_cache(maxsize=1024)
def _content(principal: Principal) -> tuple[bytes, bytes]:
    content = PrincipalFrame.pack(principal.dump(), principal.dump_grant(), principal.proof)
    if len(content) > MAX_PRINCIPAL:
        raise ValueError("The claims and the grant of this principal are too large together.")
    return sha256(content).digest(), content
