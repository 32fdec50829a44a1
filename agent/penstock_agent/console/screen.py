"""The facts on one screen of a terminal. What is from outside is no markup, and no terminal obeys it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.lookalike import visible
from penstock_agent.console.facts import Facts
from penstock_agent.control import Status
from penstock_agent.ledger.moments import duration, local, utc
from penstock_agent.problem import printable
from penstock_agent.sizes import shown

MAX_NAME: Final = 40
_LEAST: Final = 3
"""Lines that each list gets at least, with its heading."""


def screen(facts: Facts, height: int | None = None) -> RenderableType:
    """``height``: lines that there are; None for as many as it takes."""
    head = list(_head(facts))
    parts: list[RenderableType] = [*head, *_notices(facts)]
    lists = [each for each in (_servers(facts), _calls(facts), _approvals(facts), _decisions(facts)) if each]
    left = None if height is None else height - len(parts) - 1
    for number, (title, heads, rows) in enumerate(lists):
        room = None if left is None else max(_LEAST, left - _LEAST * (len(lists) - number - 1))
        shown = rows if room is None else rows[: max(1, room - 2)]
        parts.append(_line(f"{title} ({len(rows)})" if len(rows) > len(shown) else title, "bold"))
        parts.append(_table(heads, shown))
        if left is not None:
            left -= 2 + len(shown)
    return Group(*parts)


def name(text: str, limit: int = MAX_NAME) -> str:
    """Of somebody or something outside."""
    shown = visible(text[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "…"


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _head(facts: Facts) -> Iterable[Text]:
    status = facts.status
    if status is None:
        yield _line(f"{utc(facts.at)}  {printable(facts.problem)}", "bold red")
        return
    yield _line(f"{status.agent} of the site {status.site}  {utc(facts.at)}  q ends this", "bold")
    since = duration(facts.at - status.since)
    if status.linked:
        yield _line(f"link     up for {since}, {printable(status.public_url or status.relay_url)}")
    else:
        yield _line(f"link     DOWN for {since}: {printable(status.problem or 'connecting')}", "bold red")
    yield _ledger(status)
    warm = f", {status.warm} kept warm" if status.warm else ""
    yield _line(f"children {status.children} of at most {status.max_children}{warm}")


def _ledger(status: Status) -> Text:
    kept = status.ledger
    if kept.problem:
        return _line(f"ledger   CANNOT BE WRITTEN: {printable(kept.problem)}", "bold red")
    behind = kept.records - kept.synced
    waiting = f", {behind} not yet on the disk" if behind else ""
    warning = f"; {printable(kept.warning)}" if kept.warning else ""
    return _line(f"ledger   {kept.records} records, {shown(kept.bytes)}{waiting}{warning}")


def _notices(facts: Facts) -> Iterable[Text]:
    if facts.status is not None:
        if paused := [entry.what for entry in facts.status.paused]:
            yield _line(f"PAUSED   {name('; '.join(paused), 300)}", "bold yellow")
        for server, items in facts.status.withheld.items():
            text = ", ".join(name(item) for item in items[:10])
            yield _line(f"WITHHELD {len(items)} of {server}: {text}", "bold yellow")
        for server in facts.status.not_read:
            yield _line(f"WITHHELD all of {server}: penstock-agent tools review {server}", "bold yellow")
    if facts.ledger_problem:
        yield _line(printable(facts.ledger_problem), "yellow")


_Rows = Sequence[Sequence[str]]
_List = tuple[str, Sequence[str], _Rows]


def _servers(facts: Facts) -> _List | None:
    status = facts.status
    if status is None or not status.servers:
        return None
    running: dict[str, int] = {}
    for call in facts.calls:
        running[call.server] = running.get(call.server, 0) + (call.state != "listening")
    rows = [
        (
            each.name,
            f"{each.children} + {each.warm}" if each.warm else str(each.children),
            str(running.get(each.name, 0)),
            str(len(each.expose)) if each.expose else "nothing",
            ", ".join(part for part in (each.isolation, each.network) if part) or "by url",
        )
        for each in status.servers
    ]
    return "Servers", ("name", "children", "calls", "exposed", "confinement"), rows


def _calls(facts: Facts) -> _List | None:
    if facts.status is None:
        return None
    rows = [
        (
            duration(facts.at - each.since),
            each.state,
            name(each.name or each.email or each.subject),
            name(each.client),
            each.server or "all together",
            name(each.item),
            shown(each.bytes),
        )
        for each in facts.calls
    ]
    more = f", {facts.more_calls} more" if facts.more_calls else ""
    return f"Now{more}", ("for", "state", "who", "client", "server", "item", "bytes"), rows


def _approvals(facts: Facts) -> _List | None:
    rows = [
        (
            each.id,
            each.state,
            name(each.name or each.email or each.subject),
            name(f"{each.item} of {each.server or 'the site'}"),
            name(each.arguments, 80),
        )
        for each in facts.approvals
    ]
    title = "Approvals: penstock-agent approvals approve or deny REQUEST"
    return (title, ("request", "state", "who", "item", "arguments"), rows) if rows else None


def _decisions(facts: Facts) -> _List | None:
    rows = [
        (
            local(each.at)[11:19],
            each.verdict,
            name(each.person),
            each.server or "all together",
            name(each.item),
            name(each.rule),
        )
        for each in facts.decisions
    ]
    return "Decided", ("at", "what", "who", "server", "item", "by"), rows


def _table(heads: Sequence[str], rows: _Rows) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim", expand=False)
    for head in heads:
        table.add_column(Text(head), no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(name(cell, 80), _STYLES.get(cell, "")) for cell in row))
    return table


_STYLES: Final = {
    "denied": "red", "withheld": "yellow", "waiting": "yellow", "over_budget": "red", "failed": "red",
}  # fmt: skip
