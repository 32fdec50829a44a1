"""Bars over time as SVG, made here and without styles of their own; what is from outside is escaped. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 120
COLOURS: Final = 6
"""Classes c0 … c5 of the style sheet; the last is for the others."""


def bars(label: str, series: Sequence[tuple[str, Sequence[int]]], shown: Callable[[int], str]) -> str:
    """Stacked, from the bottom up in the order given. ``label`` says to those who cannot see it what it is;
    ``shown`` writes a number.
    """
    steps = max((len(values) for _, values in series), default=0)
    tops = [sum(values[step] for _, values in series) for step in range(steps)]
    most = max(tops, default=0)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img" '
        f'aria-label="{escape(label)}" preserveAspectRatio="none">'
    ]
    parts.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT + 19}" y2="{HEIGHT + 19}"/>')
    wide = WIDTH / max(1, steps)
    for step in range(steps):
        bottom = float(HEIGHT + 19)
        for number, (name, values) in enumerate(series):
            if not values[step]:
                continue
            high = max(1.5, values[step] * HEIGHT / most)
            bottom -= high
            parts.append(
                f'<rect class="c{min(number, COLOURS - 1)}" x="{step * wide + 1:.1f}" y="{bottom:.1f}" '
                f'width="{wide - 2:.1f}" height="{high:.1f}">'
                f"<title>{escape(name)}: {escape(shown(values[step]))}</title></rect>"
            )
    parts.append("</svg>")
    return "".join(parts)
