"""The report as words, and as a page of HTML that needs nothing else; what is from outside is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from penstock_agent.ledger.moments import local
from penstock_agent.ledger.report import Report, Row
from penstock_agent.problem import printable
from penstock_agent.sizes import shown

MAX_NAME: Final = 60
HEADS: Final = (
    "person", "assistant", "tool", "calls", "bytes", "denied", "waiting", "failed", "masked", "approved by",
)  # fmt: skip


def summary(report: Report, since: str, until: str, verified: str) -> list[str]:
    """What matters, in sentences."""
    total = report.total
    said = [f"From {since} to {until}."]
    if not report.rows:
        said.append("Nobody used anything.")
    else:
        people = f"{report.people} {'person' if report.people == 1 else 'people'}"
        said.append(f"{people} made {total.calls} requests; {shown(total.bytes)} left the site.")
        said.append(
            f"Denied: {total.denied}. Sent back to wait for approval: {total.waiting}. Masked in answers: "
            f"{total.masked}."
        )
    return [*said, verified]


def cells(row: Row, name_of: Callable[[int], str]) -> list[str]:
    return [
        printable(row.person, MAX_NAME),
        printable(row.client, MAX_NAME),
        printable(row.tool, MAX_NAME),
        str(row.calls),
        shown(row.bytes),
        str(row.denied),
        str(row.waiting),
        str(row.failed),
        str(row.masked),
        ", ".join(name_of(uid) for uid in row.approved_by),
    ]


def words(report: Report, sentences: Sequence[str], name_of: Callable[[int], str]) -> list[str]:
    """Lines for a terminal."""
    said = list(sentences)
    if report.rows:
        table = [list(HEADS), *(cells(row, name_of) for row in report.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(HEADS))]
        said.append("")
        for line in table:
            shown = [
                text.rjust(width) if 3 <= i <= 8 else text.ljust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            ]
            said.append("  ".join(shown).rstrip())
    if report.happenings:
        said += ["", "What happened on site:"]
        said += [
            f"  {local(each.at)}  {each.what}"
            + (f", by {name_of(each.by_uid)}" if each.by_uid >= 0 else "")
            + (f": {printable(each.about, 200)}" if each.about else "")
            for each in report.happenings
        ]
        if report.more:
            said.append(f"  and {report.more} more: penstock-agent ledger show")
    return said


_STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid #8886; vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td { overflow-wrap: anywhere; }
.bad { font-weight: bold; color: #c00; }
"""


def html(
    report: Report, title: str, sentences: Sequence[str], good: bool, name_of: Callable[[int], str]
) -> str:
    """A page by itself."""

    def row(texts: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if 3 <= i <= 8 else ''}>{escape(text)}</{tag}>"
            for i, text in enumerate(texts)
        )

    body = "".join(f"<p>{escape(each)}</p>" for each in sentences[:-1])
    body += f"<p{'' if good else ' class=bad'}>{escape(sentences[-1])}</p>"
    if report.rows:
        lines = "".join(f"<tr>{row(cells(each, name_of), 'td')}</tr>" for each in report.rows)
        body += f"<table><thead><tr>{row(HEADS, 'th')}</tr></thead><tbody>{lines}</tbody></table>"
    if report.happenings:
        items = "".join(
            f"<tr><td>{escape(local(each.at))}</td><td>{escape(printable(each.what))}</td><td>"
            f"{escape(name_of(each.by_uid) if each.by_uid >= 0 else '')}</td>"
            f"<td>{escape(printable(each.about, 400))}</td></tr>"
            for each in report.happenings
        )
        body += (
            "<h2>What happened on site</h2><table><thead><tr><th>when</th><th>what</th><th>by</th><th>about"
            f"</th></tr></thead><tbody>{items}</tbody></table>"
        )
        if report.more:
            body += f"<p>And {report.more} more.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )
