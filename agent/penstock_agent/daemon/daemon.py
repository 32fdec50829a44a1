"""``penstock-agent run``: puts the parts together, and takes them down in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from math import inf
from typing import Final, NoReturn

from penstock import __version__, log, tls
from penstock_agent import control, kept, pausing, state
from penstock_agent.approvals import Desk
from penstock_agent.capture.capture import FOLDER, Capture
from penstock_agent.children.containers import leftovers
from penstock_agent.children.pool import Children
from penstock_agent.config import Settings
from penstock_agent.control import Args, Peer
from penstock_agent.daemon import certificate, inforce
from penstock_agent.daemon.certificate import Certificate
from penstock_agent.daemon.configured import Configured
from penstock_agent.daemon.inforce import InForce
from penstock_agent.daemon.intake import Intake
from penstock_agent.daemon.news import News
from penstock_agent.daemon.overview import Overview
from penstock_agent.daemon.stopbutton import StopButton
from penstock_agent.dialer.dialer import Dialer, LinkStatus, Target
from penstock_agent.dialer.served import Tunnel
from penstock_agent.endpoint import Endpoint
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.taint import Marks
from penstock_agent.hooks import Hooks
from penstock_agent.ledger.entries import Event
from penstock_agent.ledger.heads import Heads
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.writer import Writer
from penstock_agent.livecalls import LiveCalls
from penstock_agent.problem import Exit, Problem
from penstock_agent.remote.remotes import Remotes
from penstock_agent.servers import Servers
from penstock_agent.systemd import Notifier
from penstock_agent.untainting import Untainting
from penstock_agent.withholding import Withholding

DRAIN: Final = 5.0
"""Seconds that calls get to finish after a signal to stop; streams that only listen get none."""
LAST_WORDS: Final = 1.0
"""Seconds for what is said to callers of those that did not finish."""
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
    context = certificate.context(settings, joined)
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
        self._target = target
        self._servers = servers
        self._notifier = notifier
        self._ledger = ledger
        self._heads = Heads(ledger, settings.state_dir, target.agent)
        self._kept = ((kept.SPENT, books), (kept.TAINTED, marks))
        self._linked = asyncio.Event()
        self._hooks = Hooks(settings.on_event)
        self._news = news = News(ledger, self._hooks, target.agent)
        self._withholding = withholding = Withholding(settings, ledger, news.tell)
        self._untainting = Untainting(marks, ledger, time.time)
        self._desk = desk = Desk(ledger, news.announce)
        self._live = LiveCalls(ledger, desk.approving.held)
        servers.definitions = withholding.definitions
        started = configured.started(paused)
        capture = settings.capture
        self._capture: Capture | None = None
        if capture is not None:
            folder = settings.state_dir / FOLDER
            keep = (capture.recipient, capture.keep_days, capture.max_size)
            self._capture = Capture(folder, *keep, alarm=news.of_capture)
        self._endpoint = endpoint = Endpoint(
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
            definitions=withholding.definitions,
            ledger=self._live,
            approving=desk.approving,
        )
        withholding.read = endpoint.read
        withholding.told = endpoint.lists_changed
        self._intake = Intake(endpoint, ledger, self._live, self._capture)
        self._tunnel = Tunnel(self._intake.start)
        self._tunnel.offer(configured.offered)
        self._in_force = in_force = InForce(
            configured,
            paused,
            target.agent.site,
            endpoint,
            children,
            self._tunnel.offer,
            withholding,
            self._hooks,
            news.note,
        )
        self._stop_button = StopButton(
            paused, lambda now: pausing.save(settings.state_dir, now), in_force.stop, news.note
        )
        self._certificate = Certificate(
            joined, lambda: in_force.settings, lambda context: self._dialer.use(context), news.note
        )
        self._dialer = Dialer(
            target,
            self._tunnel,
            lambda: in_force.configured.offered,
            self._link_changed,
            self._certificate.turned_away,
            self._heads,
            lambda: self._overview.notice,
        )
        servers.give_way = endpoint.give_way
        servers.online_since = lambda: self._dialer.status.since
        self._overview = Overview(
            target,
            in_force,
            children,
            servers,
            self._stop_button,
            withholding,
            desk,
            ledger,
            self._capture,
            self._dialer,
            self._certificate,
            lambda: self._tunnel.exchanges,
        )
        news.status = withholding.status = self._say_status

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in _STOPS:
            loop.add_signal_handler(number, told.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._intake.tasks = tasks
                tasks.create_task(self._heads.run())
                self._begin()
                tasks.create_task(self._endpoint.run())
                self._in_force.begin(tasks)
                tasks.create_task(self._control(tasks))
                tasks.create_task(self._watchdog())
                tasks.create_task(self._certificate.renewer.run())
                for file, memory in self._kept:
                    tasks.create_task(file.keep(self._in_force.settings.state_dir, memory))
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
                file.save(self._in_force.settings.state_dir, memory)
            if self._capture is not None:
                self._capture.close()
            self._news.note(Event("stopped"))
            self._notifier.close()
        return Exit.DONE

    def _begin(self) -> None:
        self._ledger.alarm = self._news.of_ledger
        content = inforce.content(self._in_force.settings)
        self._news.note(Event("started", about={"version": __version__, "configuration": content}))
        self._stop_button.found()

    async def _watchdog(self) -> None:
        limit = self._notifier.watchdog_s
        while limit:
            self._notifier.watchdog()
            await asyncio.sleep(limit / 2)

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
        for task in self._intake.serving:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                if self._intake.serving:
                    await asyncio.wait(self._intake.serving)
                await self._heads.sign()
                self._dialer.say_heads()
                await self._dialer.flushed()

    # -- the link ---------------------------------------------------------------------------------------

    def _link_changed(self, status: LinkStatus) -> None:
        if status.linked:
            self._linked.set()
            self._certificate.taken()
        else:
            self._linked.clear()
        self._say_status()

    def _say_status(self) -> None:
        self._notifier.status(self._overview.line)

    # -- control ----------------------------------------------------------------------------------------

    async def _control(self, tasks: asyncio.TaskGroup) -> NoReturn:
        handlers = {
            "status": self._overview.status,
            "reload": self._in_force.reload,
            "link": self._link,
            "renew": self._certificate.renew,
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

        await control.serve_control(control.socket_path(self._in_force.settings), handlers, ready=ready)
        raise AssertionError("the control socket serves until it is cancelled")

    def _ready(self) -> None:
        self._notifier.ready("dialling " + self._target.url)
        _log.info(
            "agent_started", site=self._target.agent.site, agent=self._target.agent.agent, pid=os.getpid()
        )

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

    def _hang_up(self) -> None:
        self._notifier.reloading()
        try:
            self._in_force.reread(-1)
        except Problem as problem:
            _log.error("configuration_kept_as_it_was", why=str(problem))
        self._notifier.ready()


def _hurry(limit: asyncio.Timeout) -> None:
    """A second Ctrl-C: whoever types it does not want to wait for the calls."""
    with suppress(RuntimeError):  # it is over already
        limit.reschedule(0.0)


def _first(group: BaseExceptionGroup[Problem]) -> Problem:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
