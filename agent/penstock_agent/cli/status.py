"""``penstock-agent status``: is there a link, for whom, and what is exposed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    to_find_the_agent,
)
from penstock_agent.ledger.moments import duration, utc
from penstock_agent.problem import Exit, Problem, printable
from penstock_agent.sizes import shown

if TYPE_CHECKING:
    from penstock_agent import control, state
    from penstock_agent.config import Settings
    from penstock_agent.ledger.entries import LedgerStatus
    from penstock_agent.server_settings import ServerSettings

NAMED = 10


def status(config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False) -> None:
    """Show the link, the site, the servers and the certificate. Exit status 0 when the link is up, else 1."""
    with problems(json):
        from penstock_agent import control, state

        settings, mistake = to_find_the_agent(config, state_dir)
        try:
            joined = state.load(settings.state_dir)
        except state.NotJoined as e:
            # Without a mistake in the configuration it is just no link: status 1.
            raise (mistake or Problem(str(e))) from None
        running: control.Status | None = None
        problem = ""
        try:
            running = asyncio.run(control.status(control.socket_to_ask(settings)))
        except control.ControlError as e:
            if mistake is not None:
                raise mistake from None
            problem = str(e)
        if json:
            emit(_as_json(settings, joined, running, problem, mistake))
        else:
            _show(settings, joined, running, problem, mistake)
    raise typer.Exit(Exit.DONE if running is not None and running.linked else Exit.FAILED)


def _show(
    settings: Settings,
    joined: state.Joined,
    running: control.Status | None,
    problem: str,
    mistake: Problem | None,
) -> None:
    say(f"agent        {joined.id.agent} of the site {joined.id.site}")
    say(f"relay        {joined.relay_url}")
    if running is None:
        say(f"link         none: {problem}")
    elif running.linked:
        url = f", public address {running.public_url}" if running.public_url else ""
        say(f"link         up for {duration(time.time() - running.since)}{url}")
    else:
        say(
            f"link         down for {duration(time.time() - running.since)}: "
            f"{running.problem or 'connecting'}"
        )
    for entry in [] if running is None else running.paused:
        say(f"PAUSED       {entry.what}, for {duration(time.time() - entry.since)}, by uid {entry.by_uid}")
    if running is not None:
        _withheld(running)
    ends = joined.expires.timestamp()
    say(f"certificate  {_until(ends - time.time(), ends)} ({utc(ends)})")
    say(f"renewal      {_renewal(running)}")
    say(f"fingerprint  {joined.fingerprint}")
    if running is not None:
        _show_ledger(running.ledger)
    say()
    if mistake is not None and running is not None:
        say("The agent goes on with what it has read before; its file cannot be read again as it is:")
        say(str(mistake))
        for each in running.servers:
            say(f"server {each.name}: {_running(each, running)}")
    elif not settings.servers:
        say(f"No servers. Add a [servers.NAME] table with a command or a url to {settings.config_file}.")
    for name, server in settings.servers.items():
        say(f"server {name}: {_server(name, server, running)}")
    if running is not None and running.whole_site:
        where = f", {site_url(running)}" if running.public_url else ""
        say(f"all together: {', '.join(running.whole_site)}{where}")
    if running is not None:
        warm = f", {running.warm} more kept warm" if running.warm else ""
        say(
            f"children: {running.children} of at most {running.max_children}{warm}, "
            f"calls under way: {running.exchanges}"
        )


def _withheld(running: control.Status) -> None:
    for name, items in running.withheld.items():
        names = ", ".join(printable(item, 80) for item in items[:NAMED])
        more = ", ..." if len(items) > NAMED else ""
        say(f"WITHHELD     {len(items)} of {name}: {names}{more}: penstock-agent tools review {name}")
    for name, why in running.not_read.items():
        say(f"WITHHELD     all of {name}: {why} To approve what it offers now:")
        say(f"             penstock-agent tools approve {name} --all")


def _show_ledger(ledger: LedgerStatus) -> None:
    if ledger.problem:
        say(
            f"LEDGER       CANNOT BE WRITTEN: {ledger.problem}. New calls are refused. Make room on the disk "
            "or mend it; the agent tries again each minute"
        )
    behind = ledger.records - ledger.synced
    signed = f", signed up to {ledger.head} ({utc(ledger.head_at)})" if ledger.head else ""
    waiting = f", {behind} not yet" if behind else ""
    text = f"{ledger.records} records, {shown(ledger.bytes)}, last on the disk {utc(ledger.synced_at)}"
    say(f"ledger       {text}{waiting}{signed}")
    say(f"ledger key   {ledger.key}")
    if ledger.warning:
        say(f"LEDGER       {ledger.warning}")


def _server(name: str, server: ServerSettings, running: control.Status | None) -> str:
    from penstock_agent.remote import address

    exposed = _exposed(server.expose)
    if running is None:
        return exposed
    known = {s.name: s for s in running.servers}.get(name)
    if known is None or tuple(known.expose) != server.expose:
        return f"{exposed}, but the running agent does not know that yet (restart it)"
    return _running(known, running, "" if server.url is None else address.show(server.url))


def _exposed(entries: Sequence[str]) -> str:
    if not entries:
        return "nothing exposed"
    return "1 expose entry" if len(entries) == 1 else f"{len(entries)} expose entries"


def _running(known: control.ServerStatus, running: control.Status, at: str = "") -> str:
    exposed = _exposed(known.expose)
    children = f"{known.children} children run" if known.children else "no child runs"
    if known.warm:
        children += f", {known.warm} kept warm"
    if known.isolation:
        children += f", isolation {known.isolation}, network {known.network}"
    if at:
        children = f"at {at}, {known.children or 'no'} conversations open"
    url = f", {connector_url(running, known.name)}" if known.expose and running.public_url else ""
    return f"{exposed}, {children}{url}"


def connector_url(running: control.Status, server: str) -> str:
    """What a user pastes into the assistant's connector settings."""
    return f"{running.public_url}/{running.site}/{server}/mcp"


def site_url(running: control.Status) -> str:
    """The same for all servers of the site together."""
    return f"{running.public_url}/{running.site}/mcp"


def _as_json(
    settings: Settings,
    joined: state.Joined,
    running: control.Status | None,
    problem: str,
    mistake: Problem | None,
) -> dict[str, object]:
    import msgspec

    confined = {} if running is None else {each.name: each for each in running.servers if each.isolation}
    exposed = {name: list(server.expose) for name, server in settings.servers.items()}
    if mistake is not None and running is not None:
        exposed = {each.name: each.expose for each in running.servers}
    return {
        "site": joined.id.site,
        "agent": joined.id.agent,
        "relay_url": joined.relay_url,
        "running": running is not None,
        "linked": running is not None and running.linked,
        "problem": problem if running is None else running.problem,
        "certificate_expires": joined.expires.isoformat(),
        "certificate_renews": (
            None if running is None else datetime.fromtimestamp(running.renews_at, UTC).isoformat()
        ),
        "renewal_problem": "" if running is None else running.renewal_problem,
        "fingerprint": joined.fingerprint,
        "servers": {
            name: {
                "expose": entries,
                # In words, as the running agent says it.
                "isolation": confined[name].isolation if name in confined else None,
                "network": confined[name].network if name in confined else None,
                "url": connector_url(running, name) if running is not None and running.public_url else None,
            }
            for name, entries in exposed.items()
        },
        "configuration_problem": "" if mistake is None else str(mistake),
        "site_endpoint": (
            None
            if running is None or not running.whole_site
            else {"servers": running.whole_site, "url": site_url(running) if running.public_url else None}
        ),
        "daemon": None if running is None else msgspec.to_builtins(running),
    }


def _until(seconds: float, ends: float) -> str:
    from penstock.renewal import EXPIRED_FOR

    if seconds > 0:
        return f"valid for {duration(seconds)}"
    if seconds > -EXPIRED_FOR:
        return f"EXPIRED: it can be renewed until {utc(ends + EXPIRED_FOR)}, which a running agent does"
    return "EXPIRED, and too long ago to be renewed: join again"


def _renewal(running: control.Status | None) -> str:
    if running is None:
        return "by the agent, once it runs; or now: penstock-agent renew"
    if running.renewal_problem:
        return f"failed, and is tried again: {running.renewal_problem}"
    left = running.renews_at - time.time()
    return f"in {duration(left)} ({utc(running.renews_at)})" if left > 0 else "now"
