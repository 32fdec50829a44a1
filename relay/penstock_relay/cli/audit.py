"""``penstock-relay audit``: who did what, and whether the log of it is whole."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock_relay.cli.common import (
    ConfigOption,
    Failed,
    JsonOption,
    Usage,
    explain,
    guarded,
    moment,
    say,
    say_json,
    say_table,
    seconds,
    settings_of,
    wants_json,
    with_store,
)

if TYPE_CHECKING:
    from penstock_relay.audit import Entry, Head
    from penstock_relay.store import Store

MOST_SINCE: Final = "3650d"
SHOWN: Final = 50


@guarded
def show(
    ctx: typer.Context,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Not older: 24h, 7d, or a date or time (UTC)."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="By this user, or about them.")
    ] = None,
    site: Annotated[str | None, typer.Option("--site", metavar="SITE", help="About this site.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="Of this kind; may stand several times."),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="The newest N of these; 0 is all.")
    ] = SHOWN,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what happened, newest last."""
    begin = None if since is None else parse_time(since, time.time())
    wanted = _filter(user, site, frozenset(kind or ()))

    async def work(store: "Store") -> "tuple[list[Entry], Head | None]":
        # One more than is shown tells whether there are more.
        return await store.audit.last(last + 1 if last else None, begin, wanted), await store.audit.head()

    entries, head = with_store(settings_of(ctx, config), work)
    more = bool(last) and len(entries) > last
    shown = entries[1:] if more else entries
    if wants_json(ctx, json):
        say_json([_public(entry) for entry in shown])
    elif shown:
        say_table(("TIME", "WHAT", "WHO", "ABOUT"), [_row(entry) for entry in shown])
    else:
        explain("Nothing that fits is in the audit log.")
    if more:
        explain(f"There are older ones: --last {last * 10}, or --last 0 for all.")
    explain(f"Head: {head or 'none yet'}")


@guarded
def verify(
    ctx: typer.Context,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head", metavar="HASH@N", help="A head that was noted elsewhere; may stand several times."
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Check that no record was changed, removed or inserted.

    A log that was cut at its end, or replaced as a whole, shows only by a head that was noted elsewhere.
    Status 1 when the log is broken.
    """
    from penstock_relay.audit import Broken, Head

    try:
        known = [Head.parse(each) for each in head or ()]
    except ValueError as error:
        raise Usage(f"--head: {error}.") from None

    async def work(store: "Store") -> "tuple[int, int, Head | None]":
        found = await store.audit.verify(known)
        return found.first, found.count, found.head

    try:
        first, count, newest = with_store(settings_of(ctx, config), work)
    except Broken as broken:
        if wants_json(ctx, json):
            say_json({"ok": False, "sequence": broken.sequence, "problem": str(broken)})
        raise Failed(f"The audit log is broken: record {broken.sequence} {broken}.") from None
    if wants_json(ctx, json):
        say_json(
            {"ok": True, "first": first, "records": count, "head": None if newest is None else str(newest)}
        )
        return
    say(f"The audit log is whole: {count} records, from {first} on.")
    say(f"Head: {newest or 'none yet'}")
    if newest and not known:
        explain("Note the head elsewhere. Later: penstock-relay audit verify --head HASH@N")


@guarded
def export(
    ctx: typer.Context,
    after: Annotated[
        int, typer.Option("--after", metavar="N", min=0, help="Only what follows record N.")
    ] = 0,
    config: ConfigOption = None,
) -> None:
    """Print the records with their hashes, oldest first, as JSON Lines."""

    async def work(store: "Store") -> None:
        async for entry in store.audit.entries(after):
            say(entry.line())

    with_store(settings_of(ctx, config), work)


@guarded
def prune(
    ctx: typer.Context,
    before: Annotated[
        str, typer.Option("--before", metavar="TIME", help="Older than 365d, or than a date or time (UTC).")
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Remove the oldest records for good. Export them first.

    A record of it stays, from which the rest can be checked.
    """
    until = parse_time(before, time.time())

    async def work(store: "Store") -> "tuple[int, Head | None]":
        return await store.audit.prune(until), await store.audit.head()

    count, head = with_store(settings_of(ctx, config), work)
    if wants_json(ctx, json):
        say_json({"before": moment(until), "removed": count, "head": None if head is None else str(head)})
        return
    explain(f"Records removed: {count}, those before {moment(until)}. Head: {head or 'none yet'}")


def parse_time(text: str, now: float) -> float:
    """A length of time before ``now``, or a date or time in ISO 8601, UTC unless it says. Raises Usage."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return now - seconds(text, what="the time", most=MOST_SINCE)
    at = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if at > now:
        raise Usage(f"the time {text!r} is not in the past.")
    return at


def _filter(user: str | None, site: str | None, kinds: frozenset[str]) -> "Callable[[Entry], bool]":
    from penstock_relay.audit import ActorKind, Kind

    known = {kind.text for kind in Kind}
    wrong = sorted(kinds - known)
    if wrong:
        raise Usage(f"--kind {wrong[0]!a} is not a kind of record. They are: {', '.join(sorted(known))}.")

    def wanted(entry: "Entry") -> bool:
        try:
            values = entry.values()
        except ValueError:
            return True  # nobody may hide a record by breaking it
        actor, about = values["actor"], values["about"]
        people = [about.get("user"), actor.get("user")]
        if actor.get("kind") == ActorKind.USER:
            people.append(actor.get("name"))
        places = [about.get("site"), actor.get("site")]
        return (
            (not kinds or values["kind"] in kinds)
            and (user is None or user.lower() in people)
            and (site is None or site in places)
        )

    return wanted


def _public(entry: "Entry") -> dict[str, Any]:
    try:
        return {**entry.values(), "hash": entry.hash}
    except ValueError:
        return entry.wreck()


def _row(entry: "Entry") -> tuple[str, str, str, str]:
    try:
        values = entry.values()
    except ValueError:
        return "-", "-", "-", f"record {entry.sequence} cannot be read: penstock-relay audit verify"
    actor = dict(values["actor"])
    who = [str(actor.pop("kind", "-")), *_words(actor)]
    return _word(values["at"]), _word(values["kind"]), " ".join(who), " ".join(_words(values["about"]))


def _words(values: dict[str, Any]) -> list[str]:
    return [f"{name}={_word(value)}" for name, value in values.items()]


def _word(value: object) -> str:
    """A value on a terminal: nothing in it can move the cursor, or be taken for a second value."""
    if isinstance(value, dict):
        return f"{_word(value.get('from'))}->{_word(value.get('to'))}"
    text = str(value)
    return text if text.isprintable() and " " not in text else ascii(text)
