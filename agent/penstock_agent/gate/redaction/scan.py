"""Looking through a document: where something is found, what stands there then, and how often it was."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from penstock_agent.gate.redaction.custom import Custom
from penstock_agent.gate.redaction.detectors import FIELD, Detector, Find, mask
from penstock_agent.gate.redaction.document import MAX_TEXT, Document, Leaf, TooMuch
from penstock_agent.gate.redaction.keys import Span

MAX_FOUND: Final = 20_000
"""Findings in one message."""
REMOVED: Final = f'"{mask(FIELD)}"'.encode()
"""What stands in the place of a field, as raw JSON."""
_ROUNDS: Final = 4
_STICKS: Final = re.compile(r"[\w.+%&#$!~^@/=-]")


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    rank: int
    """The lower of two that overlap gives the name."""
    name: str
    goes_on: bool = False
    """Whether it is the rest of what begins in an earlier text."""


@dataclass(slots=True)
class Scan:
    """What to look for, and what was found. For one message."""

    detectors: Sequence[Detector]
    customs: Sequence[Custom]
    found: Counter[str] = field(default_factory=Counter)
    _keys: Counter[str] = field(default_factory=Counter)

    def look(self, doc: Document) -> None:
        """Find everything, and have the leaves say what they become. Raises
        :exc:`~penstock_agent.gate.redaction.document.TooMuch`.
        """
        leaves = list(doc.all_leaves())
        hits = self._separate(leaves)
        self._over_ends(doc, hits)
        for leaf, own in hits.items():
            self._change(leaf, own)
        for each in doc.documents():
            self.found[FIELD] += len(each.cuts)
        for leaf in doc.outer():
            self._outer(leaf)
        self.found = +self.found

    def _separate(self, leaves: list[Leaf]) -> dict[Leaf, list[_Hit]]:
        """In each text by itself, all of them read as one: names of members before their values."""
        starts = list(accumulate((len(leaf.text) + 1 for leaf in leaves), initial=0))
        if starts[-1] > MAX_TEXT:
            raise TooMuch
        parts = (part for leaf in leaves for part in (leaf.text, "\1" if leaf.is_key else "\0"))
        whole = "".join(parts)
        hits: dict[Leaf, list[_Hit]] = defaultdict(list)
        left = MAX_FOUND
        for rank, name, span, number in self._everything(whole, starts, leaves):
            left -= 1
            if left < 0:
                raise TooMuch
            hits[leaves[number]].append(_Hit(*span, rank, name))
        return hits

    def _everything(
        self, whole: str, starts: list[int], leaves: list[Leaf]
    ) -> Iterator[tuple[int, str, Span, int]]:
        for rank, one in enumerate(self.detectors):
            for start, end in one.find(whole):
                number = bisect_right(starts, start) - 1
                base = starts[number]
                yield rank, one.name, (start - base, end - base), number
        if self.customs:
            texts = [leaf.text for leaf in leaves]
            for rank, custom in enumerate(self.customs, len(self.detectors)):
                for number, span in custom.find_each(texts):
                    yield rank, custom.name, span, number

    def _over_ends(self, doc: Document, hits: dict[Leaf, list[_Hit]]) -> None:
        """What begins in one text and ends in a later one of the same row."""
        left = MAX_TEXT
        for each in doc.documents():
            for joint, row in each.rows:
                detectors: Sequence[Detector] = self.detectors
                customs: Sequence[Custom] = self.customs
                if joint:  # lines: of what is looked for, only keys have several
                    detectors, customs = [one for one in detectors if one.name == Find.PRIVATE_KEY], ()
                    if not detectors or not any("PRIVATE KEY" in leaf.text for leaf in row):
                        continue
                for run in _runs(row):
                    left -= sum(len(leaf.text) for leaf in run)
                    if left < 0:
                        raise TooMuch
                    self._over(joint, run, detectors, customs, hits)

    def _over(
        self,
        joint: str,
        run: list[Leaf],
        detectors: Sequence[Detector],
        customs: Sequence[Custom],
        hits: dict[Leaf, list[_Hit]],
    ) -> None:
        starts = list(accumulate((len(leaf.text) + len(joint) for leaf in run), initial=0))
        whole = joint.join(leaf.text for leaf in run)
        finders: list[Detector | Custom] = [*detectors, *customs]
        for rank, one in enumerate(finders):
            for start, end in _spans(one, whole):
                first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
                parts = [
                    (run[n], max(0, start - starts[n]), min(len(run[n].text), end - starts[n]))
                    for n in range(first, last + 1)
                ]
                if first == last:
                    continue
                if one.name == Find.PRIVATE_KEY:  # what was found of it is a part, and not the whole
                    for leaf, begin, stop in parts:
                        own = hits.get(leaf, [])
                        own[:] = [hit for hit in own if not _is(hit, one.name, begin, stop)]
                elif any(_is(hit, one.name, *span) for leaf, *span in parts for hit in hits.get(leaf, ())):
                    continue  # that is the whole, and here it has a neighbour's word before or behind it
                for n, (leaf, begin, stop) in enumerate(parts):
                    if begin < stop:
                        hits[leaf].append(_Hit(begin, stop, rank, one.name, goes_on=n > 0))

    def _change(self, leaf: Leaf, hits: list[_Hit]) -> None:
        text = self._replaced(leaf.text, hits)
        for _ in range(_ROUNDS if _touching(leaf.text, hits) else 0):
            # What was taken out may have hidden where something else begins or ends.
            more = [
                _Hit(start, end, rank, one.name)
                for rank, one in enumerate(self.detectors)
                for start, end in one.find(text)
            ]
            if not more:
                break
            text = self._replaced(text, more)
        if leaf.is_key:  # two members of one name would be one
            self._keys[text] += 1
            text += f" ({self._keys[text]})" if self._keys[text] > 1 else ""
        leaf.new = text

    def _replaced(self, text: str, hits: Iterable[_Hit]) -> str:
        parts, at = [], 0
        for hit in _merged(hits):
            parts.append(text[at : hit.start])
            at = hit.end
            if not hit.goes_on:
                parts.append(mask(hit.name))
                self.found[hit.name] += 1
        parts.append(text[at:])
        return "".join(parts)

    def _outer(self, leaf: Leaf) -> None:
        """A text that is JSON: what it is now; and what only its text as a whole shows."""
        inner = leaf.inner
        assert inner is not None  # noqa: S101  that is what makes it an outer one
        raw = inner.written(REMOVED)
        text = leaf.text if raw is inner.raw else raw.decode()
        hits = [
            _Hit(start, end, rank, custom.name)
            for rank, custom in enumerate(self.customs)
            for start, end in custom.find(text)
        ]
        text = self._replaced(text, hits) if hits else text
        leaf.new = None if text == leaf.text else text


def _spans(one: Detector | Custom, text: str) -> list[Span]:
    return one.find(text)


def _runs(row: list[Leaf]) -> Iterator[list[Leaf]]:
    """The parts of a row of which each text is one, and not a document."""
    run: list[Leaf] = []
    for leaf in row:
        if leaf.inner is None:
            run.append(leaf)
            continue
        if len(run) > 1:
            yield run
        run = []
    if len(run) > 1:
        yield run


def _touching(text: str, hits: Iterable[_Hit]) -> bool:
    """Whether a letter or the like stands right beside one of them."""
    return any(
        _STICKS.fullmatch(c) is not None
        for hit in hits
        for c in (text[hit.start - 1 : hit.start], text[hit.end : hit.end + 1])
        if c
    )


def _is(hit: _Hit, name: str, start: int, end: int) -> bool:
    """Whether it is of this name and within these bounds, if only in part."""
    return hit.name == name and hit.start < end and start < hit.end


def _merged(hits: Iterable[_Hit]) -> list[_Hit]:
    """One for each stretch of text that some of them cover."""
    merged: list[_Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, hit.rank, -hit.end)):
        if merged and hit.start < merged[-1].end:
            last = merged[-1]
            best = min(last, hit, key=lambda hit: (hit.goes_on, hit.rank))
            merged[-1] = _Hit(last.start, max(last.end, hit.end), best.rank, best.name, best.goes_on)
        else:
            merged.append(hit)
    return merged
