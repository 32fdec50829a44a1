"""Small things about messages of the modern era. Pure."""

from __future__ import annotations

import msgspec

from penstock.envelope import Message, dump, member, notification, replaced
from penstock_agent.endpoint.meta import CHANGED, SUBSCRIPTION
from penstock_agent.endpoint.modern.ladder import STATUS


def status_of(message: Message) -> int:
    """The HTTP status of an answer that comes before anything else."""
    if message.error is None:
        return 200
    code = member(message.error, "code")
    return next((status for known, status in STATUS.items() if code == b"%d" % known), 200)


def with_supported(answer: Message, versions: tuple[str, ...]) -> Message:
    """An answer to ``server/discover``: which versions are served here, the server cannot know."""
    if answer.result is None or member(answer.result, "supportedVersions") is None:
        return answer
    result = replaced(answer.result, msgspec.json.encode(versions), "supportedVersions")
    return Message(answer.kind, answer.id, None, None, result, None)


def lists_changed(request: Message) -> list[bytes]:
    """News of all lists that this subscription wants to hear of."""
    wanted = member(request.params or b"{}", "notifications") or b"{}"
    meta = b'{"_meta":{"%b":%b}}' % (SUBSCRIPTION.encode(), request.id or b"null")
    return [
        dump(notification(method, meta))
        for name, method in CHANGED.items()
        if member(wanted, f"{name}ListChanged") == b"true"
    ]


def end_of_subscription(request: Message) -> bytes:
    """The answer to a subscription that has ended in the way that is no accident."""
    id = request.id or b"null"
    meta = b'{"%b":%b}' % (SUBSCRIPTION.encode(), id)
    result = b'{"resultType":"complete","_meta":%b}' % meta
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, result)
