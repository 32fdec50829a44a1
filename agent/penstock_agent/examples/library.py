"""A folder of text documents, and a ranked search over it. No MCP here."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".md": "text/markdown", ".txt": "text/plain"}
MAX_DOCUMENT_BYTES = 1 << 20  # a larger file is not a document of a small folder
MAX_DOCUMENTS = 1000
SNIPPET_WORDS = 28

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
# BM25 with its usual constants: k1 bounds how much repetition helps, b how much length hurts.
_K1, _B, _TITLE_WEIGHT = 1.2, 0.75, 3


class NoSuchDocument(ValueError):
    """The id names no document of this folder. The text says so without saying what else is on the disk."""


@dataclass(frozen=True, slots=True)
class Document:
    id: str  # path below the folder, with "/"
    title: str
    text: str
    mime_type: str


@dataclass(frozen=True, slots=True)
class Hit:
    document: Document
    score: float
    snippet: str


def words(text: str) -> list[str]:
    return [match.group().casefold() for match in _WORD.finditer(text)]


class Library:
    """The documents below one folder. Reads the disk on every call: files may come and go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def ids(self) -> list[str]:
        found = (path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*"))
        return sorted(name for name in found if self._path(name) is not None)[:MAX_DOCUMENTS]

    def documents(self) -> Iterator[Document]:
        for name in self.ids():
            try:
                yield self.get(name)
            except NoSuchDocument:
                continue  # removed since it was listed

    def get(self, name: str) -> Document:
        """Raises :exc:`NoSuchDocument`."""
        path = self._path(name)
        try:
            data = path.read_bytes() if path is not None else None
        except OSError:
            data = None
        if path is None or data is None:
            raise NoSuchDocument(f"There is no document {name!r}. `outline` lists all of them.")
        text = data.decode("utf-8", "replace")
        return Document(
            path.relative_to(self._folder).as_posix(), _title(text, path), text, SUFFIXES[path.suffix]
        )

    def delete(self, name: str) -> None:
        """Remove the file for good. Raises :exc:`NoSuchDocument`, or OSError when the disk refuses."""
        path = self._path(name)
        if path is None:
            raise NoSuchDocument(f"There is no document {name!r}. `outline` lists all of them.")
        path.unlink()

    def _path(self, name: str) -> Path | None:
        """The file behind an id, if that is a document inside the folder, all links and dots followed."""
        try:
            name.encode()
            path = (self._folder / name).resolve()
            fits = path.is_file() and path.stat().st_size <= MAX_DOCUMENT_BYTES
        except (OSError, ValueError):  # ValueError: a NUL or half a character in the name
            return None
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if not fits or hidden or path.suffix not in SUFFIXES or not path.is_relative_to(self._folder):
            return None
        return path


def _title(text: str, path: Path) -> str:
    for line in text.splitlines():
        if line.strip():
            return line.strip().lstrip("#").strip()
    return path.stem


def headings(document: Document) -> list[str]:
    return [line.lstrip("#").strip() for line in document.text.splitlines() if line.startswith("## ")]


def rank(query: str, documents: list[Document], limit: int) -> list[Hit]:
    """The best documents for a query, best first (BM25; a word of the title counts threefold)."""
    wanted = set(words(query))
    counts = [Counter(words(d.text)) + Counter(words(d.title) * (_TITLE_WEIGHT - 1)) for d in documents]
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(lengths) if lengths else 1.0
    hits = []
    for document, count, length in zip(documents, counts, lengths, strict=True):
        score = 0.0
        for word in wanted & count.keys():
            holders = sum(1 for other in counts if word in other)
            rarity = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
            often = count[word]
            score += rarity * often * (_K1 + 1) / (often + _K1 * (1 - _B + _B * length / mean))
        if score > 0:
            hits.append(Hit(document, round(score, 3), snippet(document.text, wanted)))
    hits.sort(key=lambda hit: (-hit.score, hit.document.id))
    return hits[:limit]


def snippet(text: str, wanted: set[str]) -> str:
    """The :data:`SNIPPET_WORDS` words that hold the most different wanted ones, on one line."""
    tokens = list(_WORD.finditer(text))
    found = [index for index, token in enumerate(tokens) if token.group().casefold() in wanted]
    if not found:
        return ""

    def worth(start: int) -> int:
        window = tokens[start : start + SNIPPET_WORDS]
        return len({token.group().casefold() for token in window} & wanted)

    first = max(0, max(found, key=worth) - 6)
    window = tokens[first : first + SNIPPET_WORDS]
    cut = text[window[0].start() : window[-1].end()]
    before = "… " if first else ""
    after = " …" if first + SNIPPET_WORDS < len(tokens) else ""
    return before + " ".join(cut.split()) + after
