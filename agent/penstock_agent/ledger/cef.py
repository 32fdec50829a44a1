"""One record as a line of ArcSight's Common Event Format (CEF 0), which most collectors of logs read. Pure.

``CEF:0|vendor|product|version|what|name|severity|key=value key=value …``. What has no key there stands in
``msg`` as JSON. Values are cut to the lengths of CEF's dictionary: JSON Lines is what has all of a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from penstock_agent.ledger.entries import Verdict
from penstock_agent.ledger.reading import NOBODY, Record

VENDOR: Final = "Penstock"
PRODUCT: Final = "agent"

#: Characters that a value has at most, by key; of keys that stand for others (cs1 to cs6) it is one length.
LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "act": 63,
        "destinationServiceName": 1023,
        "externalId": 40,
        "fileHash": 255,
        "flexString1": 1023,
        "flexString2": 1023,
        "msg": 1023,
        "outcome": 63,
        "requestClientApplication": 1023,
        "requestMethod": 1023,
        "suid": 1023,
        "suser": 1023,
        **{f"cs{number}": 4000 for number in range(1, 7)},
    }
)
NAME_MAX: Final = 512
"""Characters of each field of the head."""

_SEVERITY: Final[Mapping[str, int]] = MappingProxyType(
    {
        Verdict.ALLOWED: 2,
        Verdict.WAITING: 3,
        Verdict.OVER_BUDGET: 5,
        Verdict.FAILED: 5,
        Verdict.DENIED: 6,
        Verdict.WITHHELD: 7,
    }
)
#: Events that somebody should look at.
_EVENTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "paused": 6,
        "withheld": 7,
        "ledger_tried_again": 8,
        "ledger_is_behind": 9,
        "ledger_differs": 9,
    }
)
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sent": "A piece of an answer leaves the site",
        "unsent": "A piece of an answer did not leave",
        "opened": "The head of an answer leaves the site",
        "masked": "Something was taken out of an answer",
        "segment": "A file of the ledger begins",
        "who": "A caller is introduced",
        "head": "The ledger is signed",
        "retired": "Old files of the ledger are removed",
        "cut": "The end of the ledger was no whole record",
        "follows": "This agent replaces another one",
    }
)
#: Members of a record -> the key, and what it is called where the key is one of those without a meaning.
_TEXTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "exchange": ("cs1", "exchange"),
        "item": ("cs3", "item"),
        "rule": ("cs4", "rule"),
        "h": ("cs6", "recordHash"),
        "method": ("requestMethod", ""),
        "hash": ("fileHash", ""),
        "arguments": ("flexString1", "argumentsHash"),
        "approval": ("flexString2", "approval"),
        "answers": ("flexString2", "answers"),
        "action": ("act", ""),
    }
)
_NUMBERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "bytes": ("out", ""),
        "offset": ("cn1", "offset"),
        "status": ("cn2", "httpStatus"),
    }
)
#: What is said in another way.
_SAID: Final = frozenset({"n", "at", "kind", "who", "verdict", "server", "what", "by_uid"})

_BREAKS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MISSING: Final = "\N{REPLACEMENT CHARACTER}"


def line(each: Record, version: str) -> str:
    """Without a line break at its end, or in it. ``version``: of the agent."""
    what = _what(each)
    head = (VENDOR, PRODUCT, version, what, _name(each), str(_severity(each)))
    said = " ".join(f"{key}={value}" for key, value in _extension(each))
    return "CEF:0|" + "|".join(map(header, head)) + "|" + said


def header(text: str) -> str:
    """One field of the head, escaped."""
    short = text[:NAME_MAX].replace("\r", " ").replace("\n", " ")
    return _BREAKS.sub(_MISSING, short).replace("\\", "\\\\").replace("|", "\\|")


def value(key: str, text: str) -> str:
    """One value of the extension, escaped. A blank at its end would be lost to who reads it."""
    most = LENGTHS.get(key, 255)
    short = (text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}").rstrip(" ")
    escaped = short.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")
    return _BREAKS.sub(_MISSING, escaped)


def _what(each: Record) -> str:
    """What a rule of a collector asks for: ``decision/denied``, ``event/paused``, ``sent``."""
    more = each.text("verdict") if each.kind == "decision" else each.text("what")
    return f"{each.kind}/{more}" if more and each.kind in ("decision", "event") else each.kind


def _name(each: Record) -> str:
    if each.kind == "decision":
        return f"Request {each.text('verdict').replace('_', ' ')}"
    if each.kind == "event":
        return f"On site: {each.text('what').replace('_', ' ')}"
    return _NAMES.get(each.kind, each.kind)


def _severity(each: Record) -> int:
    """0 to 10."""
    if each.kind == "decision":
        return _SEVERITY.get(each.text("verdict"), 5)
    if each.kind == "event":
        return _EVENTS.get(each.text("what"), 3)
    if each.kind == "masked":
        return 6 if each.text("action") == "block" else 5
    if each.kind == "cut":
        return 9 if each.number("signed") else 4
    return 1


def _extension(each: Record) -> Iterator[tuple[str, str]]:
    if (at := _ms(each.at)) is not None:
        yield "rt", str(at)
    yield "externalId", str(each.n)
    yield from _caller(each)
    # Of a head or a removal, "of" is the number of a record.
    if server := each.text("server") or (each.text("of") if each.kind == "decision" else ""):
        yield "destinationServiceName", value("destinationServiceName", server)
    if each.kind == "decision":
        verdict = each.text("verdict")
        yield "act", value("act", verdict)
        yield "outcome", "success" if verdict == Verdict.ALLOWED else "failure"
    rest = {}
    for member, found in each.said.items():
        if member in _SAID or (member == "of" and each.kind == "decision"):
            continue
        if member in _TEXTS and isinstance(found, str):
            key, label = _TEXTS[member]
            yield from _labelled(key, label, found)
        elif member in _NUMBERS and isinstance(found, int) and not isinstance(found, bool):
            key, label = _NUMBERS[member]
            yield from _labelled(key, label, str(found))
        else:
            rest[member] = found
    if rest:
        yield "msg", value("msg", msgspec.json.encode(rest).decode())


def _caller(each: Record) -> Iterator[tuple[str, str]]:
    who = each.who
    if each.kind == "event" and (uid := each.said.get("by_uid")) is not None:
        yield "suid", value("suid", str(uid))
    if who is NOBODY:
        return
    yield "suid", value("suid", who.subject)
    yield "suser", value("suser", who.email or who.name or who.subject)
    if who.client:
        yield "requestClientApplication", value("requestClientApplication", who.client)
    yield from _labelled("cs2", "issuer", who.issuer)
    if who.groups:
        yield from _labelled("cs5", "groups", ",".join(who.groups))


def _labelled(key: str, label: str, text: str) -> Iterator[tuple[str, str]]:
    if text:
        yield key, value(key, text)
        if label:
            yield f"{key}Label", label


def _ms(at: str) -> int | None:
    try:
        return round(datetime.fromisoformat(at).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None
