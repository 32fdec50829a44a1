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
from penstock.names import WHOLE_SITE
from penstock.refusal import REVOKED, SUPERSEDED, Refusal
from penstock_agent import control, pausing, spending, state
from penstock_agent.approvals import Desk
from penstock_agent.callers.trust import Anyone
from penstock_agent.children.child import ChildSpec, ProcessSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.plan import LANDLOCK_MISSING, CannotConfine, Level
from penstock_agent.children.environment import BadEnvironment
from penstock_agent.children.pool import Children
from penstock_agent.config import Settings
from penstock_agent.control import Args, Peer
from penstock_agent.dialer.dialer import Dialer, LinkStatus, Target
from penstock_agent.dialer.served import Served, Tunnel
from penstock_agent.endpoint import Endpoint
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Exposed, Gate
from penstock_agent.gate.pause import MOST, Entry, Kind, Paused, TooMany
from penstock_agent.gate.policy.books import Books
from penstock_agent.hooks import Hooks
from penstock_agent.ledger import happenings
from penstock_agent.ledger.entries import CannotRecord, Event
from penstock_agent.ledger.heads import Heads
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.recorded import Recorded
from penstock_agent.ledger.writer import Writer
from penstock_agent.policy_settings import policy
from penstock_agent.problem import Exit, Problem
from penstock_agent.remote.remotes import Remotes
from penstock_agent.renewal.renew import Renewed, renew
from penstock_agent.renewal.renewer import Renewer
from penstock_agent.renewal.verdict import Revoked, judge
from penstock_agent.servers import Servers, members, redactors, spec, whole_site
from penstock_agent.site.spec import SiteSpec, SiteView
from penstock_agent.systemd import Notifier
from penstock_agent.withholding import Withholding

if TYPE_CHECKING:
    from penstock_agent.callers.callers import Callers

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
    books = spending.load(settings.state_dir)
    specs, callers = _specs(settings), _callers(settings, joined.id.site)
    ledger = open_ledger(settings.state_dir, joined.id, settings.ledger)
    try:
        async with (
            Children(settings.max_children) as children,
            Remotes() as remotes,
            Servers(children, remotes) as servers,
        ):
            children.keep_warm(_warm(settings))
            return await _Daemon(
                settings, joined, target, specs, callers, children, servers, notifier, paused, books, ledger
            ).run()
    finally:
        ledger.close()


class _Daemon:
    """One run of the agent. Its TaskGroup owns every task but those of the endpoint and the links."""

    def __init__(
        self,
        settings: Settings,
        joined: state.Joined,
        target: Target,
        specs: Mapping[str, ChildSpec],
        callers: Callers | Anyone,
        children: Children,
        servers: Servers,
        notifier: Notifier,
        paused: Paused,
        books: Books,
        ledger: Writer,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._heads = Heads(ledger, settings.state_dir, target.agent)
        self._paused = paused
        self._books = books
        self._specs = specs
        self._target = target
        self._children = children
        self._servers = servers
        self._notifier = notifier
        self._linked = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._callers = callers
        self._judging: asyncio.Task[None] | None = None
        self._hooks = Hooks(settings.on_event)
        self._withholding = Withholding(settings, target.agent, ledger, self._hooks)
        self._desk = Desk(ledger, self._announce)
        servers.definitions = self._withholding.definitions
        specs = _with_site(settings, specs, paused)
        self._endpoint = Endpoint(
            target.agent,
            specs,
            _gate(settings, specs),
            servers,
            call_timeout=settings.call_timeout,
            callers=callers,
            shared_by_all=_shared_by_all(settings),
            close_after=settings.close_stream_after or inf,
            tolerance=settings.tolerance,
            session_key=state.session_key(settings.state_dir),
            paused=paused,
            books=books,
            definitions=self._withholding.definitions,
            ledger=ledger,
            approving=self._desk.approving,
        )
        self._withholding.read = self._endpoint.read
        self._withholding.told = self._endpoint.lists_changed
        self._tunnel = Tunnel(self._start)
        self._tunnel.offer(self._offered())
        self._dialer = Dialer(
            target, self._tunnel, self._offered, self._link_changed, self._turned_away, self._heads
        )
        servers.give_way = self._endpoint.give_way
        servers.online_since = lambda: self._dialer.status.since
        self._joined = joined
        self._renewer = Renewer(joined, self._renew_once, self._renewed)
        self._hung_up = 0
        self._withholding.status = self._say_status

    def _offered(self) -> frozenset[str]:
        """Servers with nothing exposed are not even named to the relay."""
        return frozenset(name for name, server in self._settings.servers.items() if server.expose)

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
                self._judging = tasks.create_task(self._callers.run())
                tasks.create_task(self._control(tasks))
                tasks.create_task(self._watchdog())
                tasks.create_task(self._renewer.run())
                tasks.create_task(spending.keep(self._settings.state_dir, self._books))
                tasks.create_task(self._hooks.run())
                await told.wait()
                await self._drain()
                raise _Stop
        except* _Stop:
            _log.info("stopped")
        except* Problem as group:
            raise _first(group) from None
        finally:
            spending.save(self._settings.state_dir, self._books)
            self._note(Event("stopped"))
            self._notifier.close()
        return Exit.DONE

    # -- the ledger -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._ledger.alarm = self._alarm
        content = _content(self._settings)
        self._note(Event("started", about={"version": __version__, "configuration": content}))
        for entry in self._paused.entries:
            about: dict[str, str | int] = {"what": entry.kind.value, "name": entry.name}
            self._note(Event("is_paused", entry.by_uid, {**about, "since": int(entry.since)}))

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
        parts = (failing, linked, asked, self._withholding.summary)
        self._notifier.status("; ".join(part for part in parts if part))

    def _announce(self, what: str, about: Mapping[str, object]) -> None:
        """To the site's own program, with the site and the agent that it is about."""
        agent = self._target.agent
        self._hooks.tell(what, {"site": agent.site, "agent": agent.agent, "at": time.time(), **about})
        self._say_status()

    def _alarm(self, problem: str) -> None:
        self._announce("ledger_failing" if problem else "ledger_recovered", {"why": problem})

    # -- exchanges ------------------------------------------------------------------------------------

    def _start(self, exchange: Served) -> None:
        work = self._endpoint.serve(Recorded(exchange, self._ledger))
        try:
            if self._tasks is None:
                raise RuntimeError
            task = self._tasks.create_task(work)
        except RuntimeError:  # a group that is being taken down takes nothing more
            work.close()
            exchange.fail("the agent is stopping")
            return
        self._serving.add(task)

        def served(task: asyncio.Task[None]) -> None:
            self._serving.discard(task)
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
        settings = self._settings
        return await renew(settings.state_dir, settings.proxy_for(self._joined.relay_url), settings.ca_file)

    def _renewed(self, joined: state.Joined) -> None:
        self._joined = joined
        self._dialer.use(_context(self._settings, joined))
        self._note(Event("certificate_renewed", about={"expires": int(joined.expires.timestamp())}))

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
            "pause": self._pause,
            "resume": self._resume,
            "review": self._withholding.review,
            "pin": self._withholding.approve,
            **self._desk.handlers,
        }

        def ready() -> None:
            # Not before: a second agent on this folder must not take the calls of the first.
            tasks.create_task(self._dialer.run())
            self._ready()

        await control.serve_control(control.socket_path(self._settings), handlers, ready=ready)
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
                    *_confined(self._specs[name]),
                )
                for name, server in self._settings.servers.items()
            ],
            whole_site=members(self._settings.servers),
            paused=list(self._paused.entries),
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

    async def _pause(self, peer: Peer, args: Args) -> Args:
        entry = _entry(args, peer)
        try:
            return self._use(self._paused.with_(entry), "paused", entry, peer)
        except TooMany:
            raise Problem(f"{MOST} things are paused already; resume some of them.") from None

    async def _resume(self, peer: Peer, args: Args) -> Args:
        entry = _entry(args, peer)
        return self._use(self._paused.without(entry.kind, entry.name), "resumed", entry, peer)

    def _use(self, paused: Paused, what: str, entry: Entry, peer: Peer) -> Args:
        """First in force, which takes no disk, then kept: a full one must not keep the stop button from
        working, nor what was not kept from being kept by the next try.
        """
        changed, self._paused = paused != self._paused, paused
        ended = self._endpoint.pause(paused)
        if changed:
            self._reload_endpoint()
            _log.warning(what, kind=entry.kind.value, name=entry.name, by_uid=peer.uid, ended=ended)
            about: dict[str, str | int] = {"what": entry.kind.value, "name": entry.name, "ended": ended}
            self._note(Event(what, peer.uid, about))
        pausing.save(self._settings.state_dir, paused)
        answer = control.Pause(changed, ended, list(paused.entries))
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict

    def _reload_endpoint(self) -> None:
        settings = self._settings
        specs = _with_site(settings, self._specs, self._paused)
        self._endpoint.reload(specs, _gate(settings, specs), self._callers, _shared_by_all(settings))

    async def _reload(self, peer: Peer, args: Args) -> Args:
        self._reread(peer.uid)
        _log.info("configuration_read_again", by_uid=peer.uid)
        return {"servers": sorted(self._settings.servers)}

    def _hang_up(self) -> None:
        self._notifier.reloading()
        try:
            self._reread(-1)
        except Problem as problem:
            _log.error("configuration_kept_as_it_was", why=str(problem))
        self._notifier.ready()

    def _reread(self, by_uid: int) -> None:
        """Servers and what is exposed, from the file as it is now; all or nothing. Raises Problem."""
        before = {name: server.expose for name, server in self._settings.servers.items()}
        settings = self._settings.reload()
        plain, callers = _specs(settings), _callers(settings, self._target.agent.site)
        specs = _with_site(settings, plain, self._paused)
        gate = _gate(settings, specs)
        self._settings, self._specs, self._callers = settings, plain, callers
        self._hooks.command = settings.on_event
        self._withholding.use(settings)
        if self._judging is not None and self._tasks is not None:
            self._judging.cancel()
            self._judging = self._tasks.create_task(callers.run())
        self._endpoint.reload(specs, gate, callers, _shared_by_all(settings))
        self._children.keep_warm(_warm(settings))
        self._tunnel.offer(self._offered())
        after = {name: server.expose for name, server in settings.servers.items()}
        self._note(Event("configuration_read_again", by_uid, {"configuration": _content(settings)}))
        for event in happenings.exposed(before, after, by_uid):
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


def _entry(args: Args, peer: Peer) -> Entry:
    """Raises Problem."""
    try:
        given = msgspec.convert(dict(args), Entry)
    except msgspec.ValidationError:
        raise Problem("Say what: everything, a server or a caller.", Exit.USAGE) from None
    if bool(given.name) is (given.kind is Kind.EVERYTHING):
        raise Problem("A server and a caller have a name, and everything has none.", Exit.USAGE)
    return Entry(given.kind, given.name, time.time(), peer.uid)


def _specs(settings: Settings) -> dict[str, ChildSpec]:
    """Of the servers one by one; makes their folders. Raises Problem."""
    try:
        specs = {
            name: spec(settings.state_dir, name, server, os.environ, settings.private)
            for name, server in settings.servers.items()
        }
    except (BadEnvironment, CannotConfine) as error:
        raise Problem(str(error), Exit.USAGE) from None
    except OSError as error:
        raise Problem(
            f"The folders of the servers in {settings.state_dir} cannot be made: {error.strerror}.",
            Exit.USAGE,
        ) from None
    for name, each in specs.items():
        less = isinstance(each, ProcessSpec) and each.confinement.level is Level.PROCESS
        if less and settings.servers[name].isolation is None:
            _log.warning("less_confined", server=name, isolation="process", why=LANDLOCK_MISSING)
    return specs


def _confined(of: ChildSpec) -> tuple[str, str]:
    """Level and network of a server, in words; empty for one that is not a process of ours."""
    return of.confinement.words(kernel.look()) if isinstance(of, ProcessSpec) else ("", "")


def _with_site(settings: Settings, specs: Mapping[str, ChildSpec], paused: Paused) -> Mapping[str, ChildSpec]:
    """And of all of them together, without those that are stopped."""
    site = whole_site(settings.site, settings.servers, specs, paused.servers)
    return specs if site is None else {**specs, WHOLE_SITE: site}


def _callers(settings: Settings, site: str) -> Callers | Anyone:
    """Raises Problem."""
    servers = [name for name, server in settings.servers.items() if server.trust == "caller"]
    caller = settings.caller
    if caller is None or not servers:
        return Anyone()
    # Loaded here: most sites have no use for it.
    from penstock_agent.callers.callers import Callers
    from penstock_agent.callers.challenge import Challenges
    from penstock_agent.callers.pinned import AtUrl, InFile
    from penstock_agent.callers.proof import Provider

    if caller.keys_file is not None:
        keys: InFile | AtUrl = InFile(caller.keys_file)
    else:
        url = caller.keys_url or ""
        keys = AtUrl(url, settings.proxy_for(url))
    key = state.challenge_key(settings.state_dir, caller.challenge_key_file)
    provider = Provider(caller.issuer, caller.audience, caller.max_life_s)
    return Callers(site, servers, Challenges(key, site), provider, keys)


def _gate(settings: Settings, specs: Mapping[str, ChildSpec]) -> Gate:
    exposed: dict[str, Exposed] = {
        name: Expose.parse(server.expose) for name, server in settings.servers.items()
    }
    policies = {
        name: found
        for name, server in settings.servers.items()
        if (found := policy(server.profile, server.rules)) is not None
    }
    site = specs.get(WHOLE_SITE)
    taken_out = redactors(settings.servers, site)
    if not isinstance(site, SiteSpec):
        return Gate(exposed, taken_out, policies)
    whole = exposed[WHOLE_SITE] = SiteView(site)
    return Gate(exposed, taken_out, policies, whole)


def _shared_by_all(settings: Settings) -> frozenset[str]:
    return frozenset(name for name, server in settings.servers.items() if server.process_per == "server")


def _warm(settings: Settings) -> dict[str, int]:
    return {name: server.warm for name, server in settings.servers.items() if server.warm is not None}


def _hurry(limit: asyncio.Timeout) -> None:
    """A second Ctrl-C: whoever types it does not want to wait for the calls."""
    with suppress(RuntimeError):  # it is over already
        limit.reschedule(0.0)


def _first(group: BaseExceptionGroup[Problem]) -> Problem:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
