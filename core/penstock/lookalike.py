"""Keys that a lenient parser behind us could take for one that we judge by.

A server that reads "Name" or "paramſ" as "name" and "params" would act on something that the gate never saw
(CVE-2026-27896 was that). So the envelope has known keys only, and where we judge or rewrite, no look-alikes.
"""

import unicodedata


def fold(key: str) -> str:
    """What a lenient parser may make of `key`: no case, no compatibility forms (ſ, Kelvin, full width)."""
    if key.isascii():
        return key.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", key).casefold())


ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
JUDGED: dict[tuple[str, ...], dict[str, str]] = {
    path: {fold(key): key for key in keys}
    for path, keys in {
        ("params",): ("name", "uri", "arguments", "ref", "requestId", "progressToken", "_meta"),
        ("params", "ref"): ("type", "name", "uri"),
        ("params", "_meta"): ("progressToken",),
    }.items()
}
"""Below the envelope: path of an object, folded key, the key as it must be spelt."""


def objection(tree: object) -> str | None:
    """A sentence about the first key of a decoded message that must not travel; None when all may."""
    if not isinstance(tree, dict):
        return None
    for key in tree:
        if key in ENVELOPE:
            continue
        if fold(key) in ENVELOPE:
            return "A key of the message looks like one of JSON-RPC: spell it exactly."
        return "The message has a key that JSON-RPC does not know: put it into params or params._meta."
    for path, spelling in JUDGED.items():
        inner: object = tree
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue
        for key in inner:
            right = spelling.get(fold(key), key)
            if right != key:
                return f"A key of {'.'.join(path)} looks like '{right}' but is another: spell it exactly."
    return None
