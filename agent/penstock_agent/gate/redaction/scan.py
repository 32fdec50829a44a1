"""Looking through a document: where something is found, what stands there then, and how often it was."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from penstock_agent.gate.redaction.custom import Custom
from penstock_agent.gate.redaction.detectors import FIELD, Detector, Find, mask
from penstock_agent.gate.redaction.document import MAX_TEXT, Document, Leaf
from penstock_agent.gate.redaction.keys import Span
from penstock_agent.gate.redaction.steps import AT_ONCE, SMALL, Steps, TooMuch, portions

MAX_FOUND: Final = 20_000
"""Findings in one message."""
REMOVED: Final = f'"{mask(FIELD)}"'.encode()
"""What stands in the place of a field, as raw JSON."""
_ROUNDS: Final = 4
_BATCH: Final = 1 << 14
"""Characters of short texts that are looked through as one."""
_MOST_IN_BATCH: Final = 2048
_SAID: Final = 8
"""Names before a text that may say what it is."""
_LONGEST_NAME: Final = 256
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
    _keys: dict[str, int] = field(default_factory=dict)
    _text_left: int = field(default_factory=lambda: MAX_TEXT)
    _left: int = field(default_factory=lambda: MAX_FOUND)

    def look(self, doc: Document) -> Steps[None]:
        """Find everything, and have the leaves say what they become. Raises
        :exc:`~penstock_agent.gate.redaction.steps.TooMuch`.
        """
        hits: dict[Leaf, list[_Hit]] = defaultdict(list)
        said: list[Leaf] = []
        few = len(doc.raw) <= _BATCH and len(doc.leaves) <= _MOST_IN_BATCH and not doc.inner
        for batch in (doc.leaves,) if few else _batches(doc.with_outer()):
            if batch:
                yield from self._separate(said, batch, hits)
                said = _said([*said, *batch[-_SAID:]])
            else:
                yield
        yield from self._over_ends(doc, hits)
        for leaf, own in hits.items():
            yield from self._change(leaf, own)
        for each in doc.documents():
            if each.cuts:
                self.found[FIELD] += len(each.cuts)
            yield
        for leaf in doc.outer():
            yield from self._outer(leaf)

    def _separate(self, said: list[Leaf], batch: list[Leaf], hits: dict[Leaf, list[_Hit]]) -> Steps[None]:
        """In each text by itself, all of them read as one: names of members before their values. ``said``:
        what stands before them and may say what they are.
        """
        leaves = [*said, *batch] if said else batch
        parts: list[str] = []
        starts, at = [0], 0
        for leaf in leaves:
            parts += (leaf.text, "\1" if leaf.is_key else "\0")
            at += len(leaf.text) + 1
            starts.append(at)
        self._text_left -= at - starts[len(said)]
        if self._text_left < 0:
            raise TooMuch
        whole = "".join(parts)
        for rank, one in enumerate(self.detectors):
            for spans in (one.find(whole),) if at <= SMALL else one.find_in_steps(whole):
                for start, end in spans:
                    number = bisect_right(starts, start) - 1
                    if number >= len(said):
                        base = starts[number]
                        self._hit(hits, leaves[number], _Hit(start - base, end - base, rank, one.name))
                if at > SMALL:
                    yield
        if not self.customs:
            return
        texts = [leaf.text for leaf in batch]
        for rank, custom in enumerate(self.customs, len(self.detectors)):
            for number, spans in custom.find_each(texts):
                for start, end in spans:
                    self._hit(hits, batch[number], _Hit(start, end, rank, custom.name))
                yield

    def _hit(self, hits: dict[Leaf, list[_Hit]], leaf: Leaf, hit: _Hit) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMuch
        hits[leaf].append(hit)

    def _over_ends(self, doc: Document, hits: dict[Leaf, list[_Hit]]) -> Steps[None]:
        """What begins in one text and ends in a later one of the same row."""
        left = MAX_TEXT
        for each in doc.documents():
            for joint, row in each.rows:
                detectors: Sequence[Detector] = self.detectors
                customs: Sequence[Custom] = self.customs
                if joint:  # lines: of what is looked for, only keys have several
                    detectors, customs = [one for one in detectors if one.name == Find.PRIVATE_KEY], ()
                    if not detectors or not (yield from _any_has("PRIVATE KEY", row)):
                        continue
                for run in _runs(row):
                    yield
                    if len(run) < 2:
                        continue
                    starts, at = [0], 0
                    for some in portions(run):
                        for leaf in some:
                            at += len(leaf.text) + len(joint)
                            starts.append(at)
                        yield
                    left -= at
                    if left < 0:
                        raise TooMuch
                    yield from self._over(joint, run, starts, [*detectors, *customs], hits)

    def _over(
        self,
        joint: str,
        run: list[Leaf],
        starts: list[int],
        finders: Sequence[Detector | Custom],
        hits: dict[Leaf, list[_Hit]],
    ) -> Steps[None]:
        texts: list[str] = []
        for some in portions(run):
            texts += [leaf.text for leaf in some]
            yield
        whole = joint.join(texts)
        for rank, one in enumerate(finders):
            for spans in one.find_in_steps(whole):
                for start, end in spans:
                    self._over_end(run, starts, rank, one.name, (start, end), hits)
                yield

    def _over_end(
        self,
        run: list[Leaf],
        starts: list[int],
        rank: int,
        name: str,
        span: Span,
        hits: dict[Leaf, list[_Hit]],
    ) -> None:
        start, end = span
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
        if first == last:
            return
        parts = [
            (run[n], max(0, start - starts[n]), min(len(run[n].text), end - starts[n]))
            for n in range(first, last + 1)
        ]
        if name == Find.PRIVATE_KEY:  # what was found of it is a part, and not the whole
            for leaf, begin, stop in parts:
                own = hits.get(leaf, [])
                own[:] = [hit for hit in own if not _is(hit, name, begin, stop)]
        elif any(_is(hit, name, *span) for leaf, *span in parts for hit in hits.get(leaf, ())):
            return  # that is the whole, and here it has a neighbour's word before or behind it
        for n, (leaf, begin, stop) in enumerate(parts):
            if begin < stop:
                hits[leaf].append(_Hit(begin, stop, rank, name, goes_on=n > 0))

    def _change(self, leaf: Leaf, hits: list[_Hit]) -> Steps[None]:
        text = self._replaced(leaf.text, hits)
        for _ in range(_ROUNDS if _touching(leaf.text, hits) else 0):
            # What was taken out may have hidden where something else begins or ends.
            more: list[_Hit] = []
            for rank, one in enumerate(self.detectors):
                for spans in one.find_in_steps(text):
                    more += [_Hit(start, end, rank, one.name) for start, end in spans]
                    yield
            if not more:
                break
            text = self._replaced(text, more)
        if leaf.is_key:  # two members of one name would be one
            self._keys[text] = number = self._keys.get(text, 0) + 1
            text += f" ({number})" if number > 1 else ""
        leaf.new = text
        yield

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

    def _outer(self, leaf: Leaf) -> Steps[None]:
        """A text that is JSON: what it is now; and what only its text as a whole shows."""
        inner = leaf.inner
        assert inner is not None  # noqa: S101  that is what makes it an outer one
        raw = yield from inner.written(REMOVED)
        text = leaf.text if raw is inner.raw else raw.decode()
        hits: list[_Hit] = []
        for rank, custom in enumerate(self.customs):
            for spans in custom.find_in_steps(text):
                hits += [_Hit(start, end, rank, custom.name) for start, end in spans]
                yield
        text = self._replaced(text, hits) if hits else text
        leaf.new = None if text == leaf.text else text


def _batches(leaves: Iterable[Leaf]) -> Iterator[list[Leaf]]:
    """All of them in order, as many at a time as are looked through as one text; a long one is alone. Without
    those that hold documents: where there are many, now and then a batch is empty.
    """
    batch: list[Leaf] = []
    size = left_out = 0
    for leaf in leaves:
        if leaf.inner is not None:
            left_out += 1
            if not left_out % AT_ONCE:
                yield []
            continue
        length = len(leaf.text)
        if batch and (size + length > _BATCH or len(batch) == _MOST_IN_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(leaf)
        size += length
    if batch:
        yield batch


def _said(leaves: list[Leaf]) -> list[Leaf]:
    """The names at the end of them, which say what the next text is."""
    first = len(leaves)
    while first > 0 and leaves[first - 1].is_key and len(leaves[first - 1].text) <= _LONGEST_NAME:
        first -= 1
    return leaves[max(first, len(leaves) - _SAID) :]


def _any_has(words: str, row: list[Leaf]) -> Steps[bool]:
    for some in portions(row):
        if any(words in leaf.text for leaf in some):
            return True
        yield
    return False


def _runs(row: list[Leaf]) -> Iterator[list[Leaf]]:
    """The parts of a row of which each text is one, and not a document; now and then an empty one."""
    run: list[Leaf] = []
    for some in portions(row):
        for leaf in some:
            if leaf.inner is None:
                run.append(leaf)
                continue
            if len(run) > 1:
                yield run
            run = []
        yield []
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
