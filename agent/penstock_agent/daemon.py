"""``penstock-agent run``: puts the parts together, and takes them down in order."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from penstock import __version__, log, tls
from penstock.refusal import REVOKED, SUPERSEDED, Refusal
from penstock.tunnel.frames import Notice
from penstock_agent import control, kept, pausing, state
from penstock_agent.approvals import Desk
from penstock_agent.capture.capture import FOLDER, Capture, Captured
from penstock_agent.children.containers import leftovers
from penstock_agent.children.pool import Children
from penstock_agent.config import Settings
from penstock_agent.configured import Configured
from penstock_agent.control import Args, Peer
from penstock_agent.dialer.dialer import Dialer, LinkStatus, Target
from penstock_agent.dialer.notices import notice_of
from penstock_agent.dialer.served import Served, Tunnel
from penstock_agent.endpoint import Endpoint
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.taint import Marks
from penstock_agent.hooks import Hooks
from penstock_agent.ledger import happenings
from penstock_agent.ledger.entries import CannotRecord, Event
from penstock_agent.ledger.heads import Heads
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.recorded import Recorded
from penstock_agent.ledger.writer import Writer
from penstock_agent.livecalls import LiveCalls
from penstock_agent.problem import Exit, Problem
from penstock_agent.remote.remotes import Remotes
from penstock_agent.renewal.renew import Renewed, renew
from penstock_agent.renewal.renewer import Renewer
from penstock_agent.renewal.verdict import Revoked, judge
from penstock_agent.servers import Servers, members
from penstock_agent.stopbutton import StopButton
from penstock_agent.systemd import Notifier
from penstock_agent.untainting import Untainting
from penstock_agent.withholding import Withholding

if TYPE_CHECKING:
    pass

DRAIN: Final = 5.0
"""Seconds that calls get to finish after a signal to stop; streams that only listen get none."""
LAST_WORDS: Final = 1.0
"""Seconds for what is said to callers of those that did not finish."""
HUNG_UP: Final = 3
"""Handshakes in a row that the relay ended without a word, before the certificate is doubted."""
MAX_LINK_WAIT: Final = 300.0
"""Seconds that the control verb ``link`` waits at most."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)

_log = log.get(__name__)


class _Stop(Exception):
    """A signal asked the agent to stop."""


async def run(settings: Settings) -> int:
    """Runs the agent until SIGTERM or SIGINT. Returns the exit status; raises Problem."""
    notifier = Notifier.from_environ()
    joined = state.load(settings.state_dir)
    tls.small_read_buffers()
    context = _context(settings, joined)
    target = Target(
        joined.relay_url,
        joined.id,
        bytes.fromhex(joined.instance),
        context,
        settings.proxy_for(joined.relay_url),
    )
    paused = pausing.load(settings.state_dir)
    books, marks = kept.spent(settings.state_dir), kept.tainted(settings.state_dir)
    configured = Configured.of(settings, joined.id.site)
    ledger = open_ledger(settings.state_dir, joined.id, settings.ledger)
    try:
        async with (
            Children(settings.max_children) as children,
            Remotes() as remotes,
            Servers(children, remotes) as servers,
        ):
            await leftovers.remove(configured.specs.values())
            children.keep_warm(configured.warm)
            return await _Daemon(
                configured, joined, target, children, servers, notifier, paused, books, marks, ledger
            ).run()
    finally:
        ledger.close()


class _Daemon:
    """One run of the agent. Its TaskGroup owns every task but those of the endpoint and the links."""

    def __init__(
        self,
        configured: Configured,
        joined: state.Joined,
        target: Target,
        children: Children,
        servers: Servers,
        notifier: Notifier,
        paused: Paused,
        books: Books,
        marks: Marks,
        ledger: Writer,
    ) -> None:
        settings = configured.settings
        self._configured = configured
        self._ledger = ledger
        self._heads = Heads(ledger, settings.state_dir, target.agent)
        self._stop_button = StopButton(
            paused, lambda now: pausing.save(settings.state_dir, now), self._stop, self._note
        )
        self._kept = ((kept.SPENT, books), (kept.TAINTED, marks))
        self._target = target
        self._children = children
        self._servers = servers
        self._notifier = notifier
        self._linked = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._judging: asyncio.Task[None] | None = None
        self._hooks = Hooks(settings.on_event)
        self._withholding = Withholding(settings, ledger, self._tell)
        self._untainting = Untainting(marks, ledger, time.time)
        self._desk = Desk(ledger, self._announce)
        self._live = LiveCalls(ledger, self._desk.approving.held)
        servers.definitions = self._withholding.definitions
        started = configured.started(paused)
        capture = settings.capture
        self._capture: Capture | None = None
        if capture is not None:
            folder = settings.state_dir / FOLDER
            keep = (capture.recipient, capture.keep_days, capture.max_size)
            self._capture = Capture(folder, *keep, alarm=self._uncaptured)
        self._endpoint = Endpoint(
            target.agent,
            started,
            configured.gate(started),
            servers,
            call_timeout=settings.call_timeout,
            callers=configured.callers,
            shared_by_all=configured.shared_by_all,
            close_after=settings.close_stream_after or inf,
            tolerance=settings.tolerance,
            session_key=state.session_key(settings.state_dir),
            paused=paused,
            books=books,
            marks=marks,
            definitions=self._withholding.definitions,
            ledger=self._live,
            approving=self._desk.approving,
        )
        self._withholding.read = self._endpoint.read
        self._withholding.told = self._endpoint.lists_changed
        self._tunnel = Tunnel(self._start)
        self._tunnel.offer(configured.offered)
        self._dialer = Dialer(
            target,
            self._tunnel,
            lambda: self._configured.offered,
            self._link_changed,
            self._turned_away,
            self._heads,
            self._notice,
        )
        servers.give_way = self._endpoint.give_way
        servers.online_since = lambda: self._dialer.status.since
        self._joined = joined
        self._renewer = Renewer(joined, self._renew_once, self._renewed)
        self._hung_up = 0
        self._withholding.status = self._say_status

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in _STOPS:
            loop.add_signal_handler(number, told.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._heads.run())
                self._begin()
                tasks.create_task(self._endpoint.run())
                self._judging = tasks.create_task(self._configured.callers.run())
                tasks.create_task(self._control(tasks))
                tasks.create_task(self._watchdog())
                tasks.create_task(self._renewer.run())
                for file, memory in self._kept:
                    tasks.create_task(file.keep(self._configured.settings.state_dir, memory))
                tasks.create_task(self._hooks.run())
                if self._capture is not None:
                    tasks.create_task(self._capture.tidy())
                await told.wait()
                await self._drain()
                raise _Stop
        except* _Stop:
            _log.info("stopped")
        except* Problem as group:
            raise _first(group) from None
        finally:
            for file, memory in self._kept:
                file.save(self._configured.settings.state_dir, memory)
            if self._capture is not None:
                self._capture.close()
            self._note(Event("stopped"))
            self._notifier.close()
        return Exit.DONE

    # -- the ledger -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._ledger.alarm = self._alarm
        content = _content(self._configured.settings)
        self._note(Event("started", about={"version": __version__, "configuration": content}))
        self._stop_button.found()

    def _note(self, event: Event) -> None:
        """What happens on site happens also when it cannot be recorded: the stop button most of all."""
        try:
            self._ledger.record(event)
        except CannotRecord:
            _log.error("event_not_recorded", what=event.what, by_uid=event.by_uid)

    def _say_status(self) -> None:
        link, problem = self._dialer.status, self._ledger.status().problem
        failing = f"THE LEDGER CANNOT BE WRITTEN ({problem}), new calls are refused" if problem else ""
        linked = f"linked to {self._target.url}" if link.linked else link.problem
        waiting = self._desk.approving.waiting
        asked = f"{waiting} calls wait for approval (penstock-agent approvals list)" if waiting else ""
        why = self._capture.problem if self._capture is not None else ""
        uncaptured = f"NOTHING IS CAPTURED ({why})" if why else ""
        parts = (failing, uncaptured, linked, asked, self._withholding.summary)
        self._notifier.status("; ".join(part for part in parts if part))

    def _notice(self) -> Notice:
        """What the relay is told of it."""
        return notice_of(
            self._withholding.count,
            self._desk.approving.waiting,
            ledger_failing=self._ledger.refuses is not None,
            paused=bool(self._stop_button.paused.entries),
        )

    def _tell(self, what: str, about: Mapping[str, object]) -> None:
        """To the site's own program, with the site and the agent that it is about."""
        agent = self._target.agent
        self._hooks.tell(what, {"site": agent.site, "agent": agent.agent, "at": time.time(), **about})

    def _announce(self, what: str, about: Mapping[str, object]) -> None:
        """The same, and in the unit's status."""
        self._tell(what, about)
        self._say_status()

    def _alarm(self, problem: str) -> None:
        self._announce("ledger_failing" if problem else "ledger_recovered", {"why": problem})

    def _uncaptured(self, problem: str) -> None:
        """It stops nothing: what left is in the ledger by its hash, and so is that it is not captured."""
        what = "capture_failing" if problem else "capture_recovered"
        self._note(Event(what, about={"why": problem} if problem else {}))
        self._announce(what, {"why": problem})

    # -- exchanges ------------------------------------------------------------------------------------

    def _start(self, exchange: Served) -> None:
        inner = exchange if self._capture is None else Captured(exchange, self._capture)
        recorded = Recorded(inner, self._ledger)
        work = self._endpoint.serve(recorded)
        try:
            if self._tasks is None:
                raise RuntimeError
            task = self._tasks.create_task(work)
        except RuntimeError:  # a group that is being taken down takes nothing more
            work.close()
            exchange.fail("the agent is stopping")
            return
        self._serving.add(task)
        self._live.begin(recorded)

        def served(task: asyncio.Task[None]) -> None:
            self._serving.discard(task)
            self._live.end(recorded)
            exchange.fail("no answer was given")

        task.add_done_callback(served)  # also when it was cancelled before it began

    # -- the link ---------------------------------------------------------------------------------------

    def _link_changed(self, status: LinkStatus) -> None:
        if status.linked:
            self._linked.set()
            self._hung_up = 0
        else:
            self._linked.clear()
        self._say_status()

    def _turned_away(self, refused: Refusal | None) -> None:
        """The relay did not take the certificate."""
        if refused is None:
            # In TLS nobody says why. Something else may close connections too, so it takes several.
            self._hung_up += 1
            if self._hung_up >= HUNG_UP:
                self._renewer.doubt()
            return
        verdict = judge(refused, self._joined)
        if isinstance(verdict, Revoked):
            self._renewer.end(verdict)
        elif refused.reason == SUPERSEDED:
            self._renewer.doubt()
        elif refused.reason == REVOKED:
            _log.warning("revocation_not_believed", why=str(verdict))

    async def _renew_once(self) -> Renewed:
        settings = self._configured.settings
        return await renew(settings.state_dir, settings.proxy_for(self._joined.relay_url), settings.ca_file)

    def _renewed(self, joined: state.Joined) -> None:
        self._joined = joined
        self._dialer.use(_context(self._configured.settings, joined))
        self._note(Event("certificate_renewed", about={"expires": f"{joined.expires:%Y-%m-%dT%H:%M:%SZ}"}))

    async def _drain(self) -> None:
        """Lets calls finish, up to the relay having their answers. A second signal cuts it short."""
        self._notifier.stopping("finishing calls that are under way")
        self._tunnel.drain()
        self._dialer.go_away()
        try:
            async with asyncio.timeout(DRAIN) as limit:
                for number in _STOPS:
                    asyncio.get_running_loop().add_signal_handler(number, _hurry, limit)
                await self._endpoint.drain()
                await self._tunnel.idle.wait()
                await self._endpoint.quiet()
        except TimeoutError:
            _log.warning("stopping_with_calls_under_way", calls=self._tunnel.calls)
        for task in self._serving:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                if self._serving:
                    await asyncio.wait(self._serving)
                await self._heads.sign()
                self._dialer.say_heads()
                await self._dialer.flushed()

    # -- control ----------------------------------------------------------------------------------------

    async def _control(self, tasks: asyncio.TaskGroup) -> NoReturn:
        handlers = {
            "status": self._status,
            "reload": self._reload,
            "link": self._link,
            "renew": self._renew,
            **self._stop_button.handlers,
            "review": self._withholding.review,
            "pin": self._withholding.approve,
            **self._desk.handlers,
            **self._untainting.handlers,
            "calls": self._live.calls,
        }

        def ready() -> None:
            # Not before: a second agent on this folder must not take the calls of the first.
            tasks.create_task(self._dialer.run())
            self._ready()

        await control.serve_control(control.socket_path(self._configured.settings), handlers, ready=ready)
        raise AssertionError("the control socket serves until it is cancelled")

    def _ready(self) -> None:
        self._notifier.ready("dialling " + self._target.url)
        _log.info(
            "agent_started", site=self._target.agent.site, agent=self._target.agent.agent, pid=os.getpid()
        )

    async def _status(self, peer: Peer, args: Args) -> Args:
        link = self._dialer.status
        running, warm = self._servers.running(), self._servers.warm()
        answer = control.Status(
            version=__version__,
            pid=os.getpid(),
            site=self._target.agent.site,
            agent=self._target.agent.agent,
            relay_url=self._target.url,
            linked=link.linked,
            since=link.since,
            public_url=link.public_url,
            replica=link.replica,
            problem=link.problem,
            children=len(self._children),
            warm=sum(warm.values()),
            max_children=self._children.max_children,
            exchanges=self._tunnel.exchanges,
            certificate_expires=self._joined.expires.timestamp(),
            renews_at=self._renewer.next_at,
            renewal_problem=self._renewer.problem,
            servers=[
                control.ServerStatus(
                    name,
                    running.get(name, 0),
                    warm.get(name, 0),
                    list(server.expose),
                    *self._configured.confined(name),
                )
                for name, server in self._configured.settings.servers.items()
            ],
            whole_site=members(self._configured.settings.servers),
            paused=list(self._stop_button.paused.entries),
            withheld={name: sorted(found) for name, found in self._withholding.withheld.items()},
            not_read=self._withholding.definitions.broken(),
            ledger=self._ledger.status(),
        )
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict

    async def _link(self, peer: Peer, args: Args) -> Args:
        wait = args.get("wait_s", 0)
        seconds = min(float(wait), MAX_LINK_WAIT) if isinstance(wait, int | float) else 0.0
        try:
            async with asyncio.timeout(seconds):
                await self._linked.wait()
        except TimeoutError:
            pass
        link = self._dialer.status
        return {"linked": link.linked, "public_url": link.public_url, "problem": link.problem}

    async def _renew(self, peer: Peer, args: Args) -> Args:
        _log.info("renewal_asked_for", by_uid=peer.uid)
        done = await self._renewer.now()
        return msgspec.to_builtins(  # type: ignore[no-any-return]  # a Struct becomes a dict
            control.Renewal(done.joined.expires.timestamp(), done.generation)
        )

    def _stop(self, paused: Paused) -> int:
        ended = self._endpoint.pause(paused)
        self._use(self._configured, paused)
        return ended

    def _use(self, configured: Configured, paused: Paused) -> None:
        """From now on, for what is open as well."""
        self._configured = configured
        started = configured.started(paused)
        self._endpoint.reload(started, configured.gate(started), configured.callers, configured.shared_by_all)

    async def _reload(self, peer: Peer, args: Args) -> Args:
        self._reread(peer.uid)
        _log.info("configuration_read_again", by_uid=peer.uid)
        return {"servers": sorted(self._configured.settings.servers)}

    def _hang_up(self) -> None:
        self._notifier.reloading()
        try:
            self._reread(-1)
        except Problem as problem:
            _log.error("configuration_kept_as_it_was", why=str(problem))
        self._notifier.ready()

    def _reread(self, by_uid: int) -> None:
        """Servers and what is exposed, from the file as it is now; all or nothing. Raises Problem."""
        before = self._configured.settings
        configured = Configured.of(before.reload(), self._target.agent.site)
        after = configured.settings
        self._hooks.command = after.on_event
        self._withholding.use(after)
        if self._judging is not None and self._tasks is not None:
            self._judging.cancel()
            self._judging = self._tasks.create_task(configured.callers.run())
        self._use(configured, self._stop_button.paused)
        self._children.keep_warm(configured.warm)
        self._tunnel.offer(configured.offered)
        self._note(Event("configuration_read_again", by_uid, {"configuration": _content(after)}))
        exposed = [{name: one.expose for name, one in each.servers.items()} for each in (before, after)]
        for event in happenings.exposed(exposed[0], exposed[1], by_uid):
            self._note(event)

    async def _watchdog(self) -> None:
        limit = self._notifier.watchdog_s
        while limit:
            self._notifier.watchdog()
            await asyncio.sleep(limit / 2)


def _context(settings: Settings, joined: state.Joined) -> ssl.SSLContext:
    """How to dial with this certificate. Raises Problem."""
    try:
        return tls.client_context(
            settings.ca_file or joined.ca_file, joined.certificate_file, joined.key_file
        )
    except tls.BadTlsFile as error:
        raise Problem(str(error), Exit.USAGE) from None


def _content(settings: Settings) -> str:
    """By which the settings file can be recognised; empty where there is none."""
    try:
        return happenings.content(settings.config_file.read_bytes())
    except OSError:
        return ""


def _hurry(limit: asyncio.Timeout) -> None:
    """A second Ctrl-C: whoever types it does not want to wait for the calls."""
    with suppress(RuntimeError):  # it is over already
        limit.reschedule(0.0)


def _first(group: BaseExceptionGroup[Problem]) -> Problem:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
