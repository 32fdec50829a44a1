"""A raw JSON value taken apart into what can be looked through, and put together again.

Only what changes is written anew: every other byte stays as the server wrote it. A text that is JSON itself,
and base64 that is text, are looked through as what they are, within bounds.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import Final

import msgspec

from penstock_agent.gate.redaction import packed
from penstock_agent.gate.redaction.pointers import Tree
from penstock_agent.gate.redaction.steps import AT_ONCE, SMALL, Steps, TooMuch, let_go, portions
from penstock_agent.gate.redaction.windows import ALL, LONG_NUMBER, MOST, QUOTE, windows

MAX_VALUES: Final = 1_000_000
"""Strings, names of members, objects and arrays in one message and in its texts; and all other values, where
places of fields or parts of numbers are asked for.
"""
MAX_TEXT: Final = 4 << 20
"""Characters of text in one message that are looked through."""
DOCUMENT: Final = 16
"""As so many values counts a text that is JSON."""
MAX_NESTED: Final = 2
"""How often JSON inside of the text of JSON is taken apart; below that it counts as text."""

#: What both ends know messages by, or have to bring back as it is: never looked at. In a message's own
#: object, and the names of the protocol's own in its ``_meta``.
HANDLES: Final = frozenset(
    {"progressToken", "requestId", "taskId", "elicitationId", "requestState", "nextCursor"}
)
_META: Final = ("io.modelcontextprotocol/", "penstock/", "progressToken")

_OPEN, _COMMA = b"{,"
_OPENERS, _CLOSERS = b"{[", b"}]"

_decode = msgspec.json.Decoder(str).decode
_any = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode


class Leaf(msgspec.Struct, eq=False, gc=False):  # many of them, and never in circles
    """A string, the name of a member, or a number: its token is ``raw[start:end]`` of its document."""

    start: int
    end: int
    text: str
    is_key: bool = False
    is_number: bool = False
    inner: "Document | None" = None  # noqa: UP037  read by msgspec
    """What the text is when it is JSON itself."""
    coding: str = ""
    """How the text stands in base64 here; empty where it does not."""
    new: str | None = None
    """What the text becomes."""


@dataclass(slots=True)
class Document:
    """``cuts``: values that a pointer names, as (start, end, what the pointers say)."""

    raw: bytes
    leaves: list[Leaf] = field(default_factory=list)
    cuts: list[tuple[int, int, list[str]]] = field(default_factory=list)
    rows: list[tuple[str, list[Leaf]]] = field(default_factory=list)
    """Texts that stand next to each other in one array, and what to read between them: a value may be cut
    over them.
    """
    inner: list[Leaf] = field(default_factory=list)
    """Those of ``leaves`` that hold documents."""
    reasons: set[str] = field(default_factory=set)
    """What the pointers say that name something here."""

    def all_leaves(self) -> Iterator[Leaf]:
        """With those inside of texts, in order."""
        return (leaf for leaf in self.with_outer() if leaf.inner is None)

    def with_outer(self) -> Iterator[Leaf]:
        """The same, and each leaf that holds a document after those inside."""
        if not self.inner:
            yield from self.leaves
            return
        for leaf in self.leaves:
            if leaf.inner is not None:
                yield from leaf.inner.with_outer()
            yield leaf

    def documents(self) -> Iterator[Document]:
        """This one, and those inside of its texts."""
        yield self
        for leaf in self.inner:
            if leaf.inner is not None:
                yield from leaf.inner.documents()

    def outer(self) -> Iterator[Leaf]:
        """Leaves that hold documents, the innermost first."""
        for leaf in self.inner:
            if leaf.inner is not None:
                yield from leaf.inner.outer()
                yield leaf

    def let_go(self) -> Steps[None]:
        """Forget everything."""
        if len(self.leaves) <= AT_ONCE:
            return
        for _, row in self.rows:
            yield from let_go(row)
        yield from let_go(self.leaves)

    def written(self, removed: bytes) -> Steps[bytes]:
        """The value with every change; ``removed`` is what a cut becomes, as raw JSON."""
        changed: list[Leaf] = []
        for some in portions(self.leaves):
            changed += [leaf for leaf in some if leaf.new is not None]
            yield
        if not changed and not self.cuts:
            return self.raw
        cuts = ((start, end, removed) for start, end, _ in self.cuts)
        texts = ((leaf.start, leaf.end, _written(leaf)) for leaf in changed)
        parts: list[bytes] = []
        at = 0
        for number, (start, end, new) in enumerate(merge(cuts, texts), 1):
            parts += (self.raw[at:start], new)
            at = end
            if not number % AT_ONCE:
                yield
        parts.append(self.raw[at:])
        return b"".join(parts)


def _written(leaf: Leaf) -> bytes:
    text = leaf.new or ""
    if leaf.coding:
        return b'"' + base64.b64encode(text.encode(leaf.coding)) + b'"'
    try:
        return _encode(text)
    except UnicodeEncodeError:  # half of a surrogate pair, in JSON that is inside of a text
        return json.dumps(text).encode()


def read(raw: bytes, fields: Tree[str] | None, *, numbers: bool) -> Steps[Document]:
    """Take a message's own object apart, and what its texts hold. Raises :exc:`TooMuch`.

    ``fields``: what is to be cut out of ``structuredContent``, and out of texts that are JSON. ``numbers``:
    whether every number counts, or long ones only.
    """
    return _Reader(fields, numbers).read(raw, 0)


class _Frame(msgspec.Struct, eq=False, gc=False):
    """An object or array that is open."""

    is_object: bool
    nodes: tuple[Tree[str], ...]
    key: str = ""
    index: int = 0
    exempt: bool = False
    named: dict[str, Leaf] | None = None
    """Leaves of an object by the names that say what they are."""
    row: list[Leaf] | None = None
    """Of an array: the texts that it has had last, without anything else between them."""
    joint: str = ""
    is_meta: bool = False


class _Reader:
    def __init__(self, fields: Tree[str] | None, numbers: bool) -> None:
        self._fields = fields
        self._least = 1 if numbers else LONG_NUMBER
        self._token = ALL if numbers or fields is not None else MOST
        self._left = MAX_VALUES

    def read(self, raw: bytes, level: int) -> Steps[Document]:
        doc = Document(raw)
        try:
            yield from self._take_apart(doc, level)
        except TooMuch:
            yield from doc.let_go()
            raise
        return doc

    def _take_apart(self, doc: Document, level: int) -> Steps[None]:
        raw = doc.raw
        leaves = doc.leaves
        stack: list[_Frame] = []
        frame = _Frame(False, ())
        root: tuple[Tree[str], ...] = (self._fields,) if self._fields is not None else ()
        cut_from, cut_depth, cut_why = 0, -1, list[str]()
        blobs: list[tuple[Leaf, str]] = []
        for tokens in windows(self._token, raw):
            self._left -= len(tokens)
            for token in tokens:
                start = token.start()
                first = raw[start]
                if first == _COMMA:
                    frame.index += 1
                    self._left += 1
                    continue
                if first in _CLOSERS:
                    closed = frame
                    frame = stack.pop() if stack else frame
                    if len(stack) == cut_depth:
                        doc.cuts.append((cut_from, token.end(), cut_why))
                        cut_depth = -1
                    elif cut_depth < 0:
                        self._close(doc, closed, frame, blobs)
                    continue
                if first == QUOTE and (colon := token.start(1)) >= 0:
                    frame.key = text = _text(raw[start:colon])
                    if cut_depth < 0 and not frame.exempt:
                        leaves.append(Leaf(start, colon, text, is_key=True))
                    continue
                # A value begins.
                nodes: tuple[Tree[str], ...] = ()
                if root and cut_depth < 0:
                    if not stack:
                        nodes = root if level else ()
                    elif frame.nodes:
                        name = frame.key if frame.is_object else str(frame.index)
                        nodes = tuple(node for one in frame.nodes for node in one.step(name))
                    elif len(stack) == 1 and not level and frame.key == "structuredContent":
                        nodes = root
                    why = [value for node in nodes for value in node.values]
                    if why:
                        doc.reasons.update(why)
                        if first in _OPENERS:
                            cut_from, cut_depth, cut_why = start, len(stack), why
                        else:
                            doc.cuts.append((start, token.end(), why))
                            continue
                if first in _OPENERS:
                    outermost = not level and len(stack) == 1
                    exempt = frame.exempt or (outermost and frame.key in HANDLES)
                    is_meta = outermost and frame.key == "_meta"
                    if frame.is_meta and frame.key.startswith(_META):
                        exempt = True
                    stack.append(frame)
                    frame = _Frame(first == _OPEN, nodes, exempt=exempt, is_meta=is_meta)
                    continue
                if cut_depth >= 0 or frame.exempt:
                    continue
                if not level and (
                    (len(stack) == 1 and frame.key in HANDLES)
                    or (frame.is_meta and frame.key.startswith(_META))
                ):
                    continue
                if first == QUOTE:
                    leaf = Leaf(start, token.end(), _text(raw[start : token.end()]))
                    leaves.append(leaf)
                    if not frame.is_object:
                        frame.joint = "\n"  # the lines of something
                        frame.row = frame.row or []
                        frame.row.append(leaf)
                    elif frame.key in _NAMED:
                        frame.named = frame.named or {}
                        frame.named[frame.key] = leaf
                elif token.end() - start >= self._least and (first == 45 or 48 <= first <= 57):
                    leaves.append(Leaf(start, token.end(), raw[start : token.end()].decode(), is_number=True))
            if self._left < 0:
                for each in stack:
                    yield from let_go(each.row or [])
                raise TooMuch
            if len(raw) > SMALL:
                yield
        for blob, mime in blobs:
            if (held := (yield from packed.unpacked(blob.text, mime, MAX_TEXT))) is not None:
                blob.text, blob.coding = held
        if any(blob.coding == packed.BINARY for blob, _ in blobs):
            doc.leaves = leaves = [leaf for leaf in leaves if leaf.coding != packed.BINARY]
        if not level:
            left = MAX_TEXT
            for some in portions(leaves):
                left -= sum(len(leaf.text) for leaf in some)
                if left < 0:
                    raise TooMuch  # before more is made of it
                if len(raw) > SMALL:
                    yield
        if level < MAX_NESTED:
            for some in portions(leaves):
                for leaf in some:
                    if leaf.is_key or leaf.is_number or (inner := _json(leaf.text)) is None:
                        continue
                    self._left -= DOCUMENT
                    leaf.inner = yield from self.read(inner, level + 1)
                    doc.inner.append(leaf)
                if len(raw) > SMALL:
                    yield

    def _close(self, doc: Document, closed: _Frame, parent: _Frame, blobs: list[tuple[Leaf, str]]) -> None:
        if closed.row is not None and len(closed.row) > 1:
            doc.rows.append((closed.joint, closed.row))
        named = closed.named
        text = None
        if named is not None:
            blob = named.get("blob") or (named.get("data") if "mimeType" in named else None)
            if blob is not None:
                blobs.append((blob, named["mimeType"].text if "mimeType" in named else ""))
            text = named.get("text")
        if not parent.is_object and closed.is_object:
            if text is not None:
                parent.row = parent.row or []
                parent.row.append(text)
            elif parent.row:
                # Something else stands between them.
                if len(parent.row) > 1:
                    doc.rows.append((parent.joint, parent.row))
                parent.row = None


def _json(text: str) -> bytes | None:
    """A text that is JSON, an object or an array; None for any other."""
    head = text[:64].lstrip()[:1]
    if head not in ("{", "[") or text[-64:].rstrip()[-1:] not in ("}", "]"):
        return None
    try:
        raw = text.encode()
        _any(raw)
    except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
        return None
    return raw


_NAMED: Final = frozenset({"text", "blob", "data", "mimeType"})


def _text(token: bytes) -> str:
    if b"\\" not in token:
        return token[1:-1].decode()
    try:
        return _decode(token)
    except msgspec.DecodeError:
        pass
    try:  # half of a surrogate pair, or what only some parsers take
        return str(json.loads(token, strict=False))
    except ValueError:
        return token[1:-1].decode()
