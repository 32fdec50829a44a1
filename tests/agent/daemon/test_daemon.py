"""``penstock-agent run`` in this process, against a real tunnel listener: start, verbs, signals, the end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from penstock.envelope import parse_caller
from penstock.names import WHOLE_SITE, AgentId
from penstock.principal import Principal
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import DoneReason, Notice
from penstock_agent import control, kept, pausing, state
from penstock_agent.catalogue.offer import Catalogue
from penstock_agent.children.child import ChildSpec
from penstock_agent.children.confinement import kernel
from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.pool import Children
from penstock_agent.config import Options, Settings, load
from penstock_agent.control import ControlError
from penstock_agent.daemon import configured, daemon
from penstock_agent.daemon.intake import Intake
from penstock_agent.dialer import notices as noticing
from penstock_agent.dialer.served import Served
from penstock_agent.endpoint.approving import Approving
from penstock_agent.enrolment.enrol import enrol
from penstock_agent.exchange import Exchange, ExchangeGone
from penstock_agent.gate.expose import Item
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.pause import Paused
from penstock_agent.gate.policy.books import Books, Charge, Over
from penstock_agent.gate.policy.rules import Budget
from penstock_agent.gate.view import Denied
from penstock_agent.hooks import Hooks
from penstock_agent.ledger import disk
from penstock_agent.ledger.opening import open_ledger
from penstock_agent.ledger.writer import Writer
from penstock_agent.problem import Exit, Problem
from penstock_agent.site.spec import SiteSpec
from penstock_agent.systemd import Notifier
from penstock_agent.withholding import Withholding
from penstock_relay.switchboard import Answer, OutcomeUnknown
from tests.agent.ledger.book import chained, records
from tests.harness.certs import Authority
from tests.harness.link_pair import until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import body, call

BOTH_LOOPS = True
FILES = '[servers.files]\ncommand = ["/bin/cat"]\nexpose = ["*"]\n'


class FakeEndpoint:
    """Answers when the test says so."""

    made: FakeEndpoint

    def __init__(self, *args: object, **kwargs: object) -> None:
        FakeEndpoint.made = self
        self.serving: asyncio.Queue[Exchange] = asyncio.Queue()
        self.answer = asyncio.Event()
        self.reloads: list[set[str]] = []
        self.shared_by_all: object = kwargs["shared_by_all"]
        paused = kwargs["paused"]
        assert isinstance(paused, Paused)
        self.paused = paused
        books = kwargs["books"]
        assert isinstance(books, Books)
        self.books = books
        self.drained = False
        self.none_left = asyncio.Event()
        self.none_left.set()

    async def quiet(self) -> None:
        await self.none_left.wait()

    def pause(self, paused: Paused) -> int:
        self.paused = paused
        return 2

    async def give_way(self) -> bool:
        return False

    async def run(self) -> None:
        await asyncio.Event().wait()

    def reload(
        self, specs: Mapping[str, ChildSpec], gate: Gate, callers: object, shared_by_all: object
    ) -> None:
        self.reloads.append(set(specs))
        self.specs = dict(specs)
        self.gate = gate
        self.shared_by_all = shared_by_all

    def lists_changed(self, servers: frozenset[str]) -> None:
        pass

    async def read(self, server: str) -> Catalogue:
        return Catalogue(server)

    async def drain(self) -> None:
        self.drained = True

    async def serve(self, exchange: Exchange) -> None:
        self.serving.put_nowait(exchange)
        await self.answer.wait()
        try:
            await exchange.head(200)
            await exchange.write(b"x" * 400_000)
            await exchange.end()
        except ExchangeGone:
            return


@pytest.fixture(autouse=True)
def fake_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "Endpoint", FakeEndpoint)


@dataclass
class Agent:
    """An agent that runs, and its relay."""

    place: TunnelListener
    settings: Settings
    task: asyncio.Task[int]

    @property
    def endpoint(self) -> FakeEndpoint:
        return FakeEndpoint.made

    @property
    def control(self) -> Path:
        return control.socket_path(self.settings)

    def configure(self, text: str) -> None:
        self.settings.config_file.write_text(text)

    async def linked(self) -> None:
        await until(lambda: self.place.switchboard.links.greeted > 0, "the link")

    def ask(self, tasks: asyncio.TaskGroup) -> asyncio.Task[Answer | Exception]:
        async def ask() -> Answer | Exception:
            try:
                return await self.place.switchboard.exchange(call())
            except Exception as error:
                return error

        return tasks.create_task(ask())


async def joined(place: TunnelListener, folder: Path, text: str = FILES) -> Settings:
    """The settings of an agent that has enrolled."""
    folder.mkdir(mode=0o700)
    config = folder / "agent.toml"
    config.write_text(text)
    config.chmod(0o600)
    settings = load(Options(config, folder / "state"), {})
    owner = state.prepare(settings.state_dir)
    state.store(settings.state_dir, await enrol(await place.invitation(), None), owner)
    return settings


@asynccontextmanager
async def agent_of(folder: Path, text: str = FILES) -> AsyncIterator[Agent]:
    async with tunnel_listener(folder) as place, asyncio.TaskGroup() as tasks:
        settings = await joined(place, folder / "agent", text)
        agent = Agent(place, settings, tasks.create_task(daemon.run(settings)))
        try:
            await agent.linked()
            yield agent
        finally:
            agent.task.cancel()


def kill(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


# -- start ----------------------------------------------------------------------------------------


async def test_an_agent_that_has_not_joined_says_how_to(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("")
    config.chmod(0o600)
    with pytest.raises(state.NotJoined, match="penstock-agent join"):
        await daemon.run(load(Options(config, tmp_path / "state"), {}))


async def test_another_ca_that_cannot_be_read_is_a_problem_of_configuration(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent", 'ca_file = "/none.pem"\n')
        with pytest.raises(Problem, match=r"none\.pem") as caught:
            await daemon.run(settings)
        assert caught.value.status is Exit.USAGE


@pytest.mark.parametrize("own", [True, False])
async def test_another_ca_replaces_the_one_from_enrolment(tmp_path: Path, own: bool) -> None:
    async with tunnel_listener(tmp_path) as place, asyncio.TaskGroup() as tasks:
        trusted = tmp_path / "own.pem"
        trusted.write_bytes(place.ca.pem if own else Authority(tmp_path, "other").ca.read_bytes())
        settings = await joined(place, tmp_path / "agent", f'ca_file = "{trusted}"\n{FILES}')
        task = tasks.create_task(daemon.run(settings))
        path = control.socket_path(settings)
        await until(path.exists, "the control socket")
        if own:
            assert (await control.link(path, 5)).linked
        else:
            link = await control.link(path, 0)
            while not link.problem:
                link = await control.link(path, 0)
            assert "TLS inspection" in link.problem
        task.cancel()


async def test_a_second_agent_on_the_same_folder_is_refused_before_it_dials(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        with pytest.raises(Problem, match="already runs here"):
            await daemon.run(agent.settings)
        assert agent.place.switchboard.links._next == 2, "only the first has dialled"


async def test_the_service_manager_hears_of_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    said: list[str] = []

    def hear() -> str:
        try:
            while True:
                said.extend(manager.recv(4096).decode().splitlines())
        except BlockingIOError:
            return "\n".join(said)

    with manager:
        async with agent_of(tmp_path) as agent:
            await until(lambda: "STATUS=linked to wss://" in hear(), "the link")
            assert hear().index("READY=1") < hear().index("STATUS=linked")
            await until(lambda: hear().count("WATCHDOG=1") > 2, "the watchdog")
            kill(signal.SIGHUP)
            await until(lambda: hear().count("READY=1") == 2, "the reload")
            assert "RELOADING=1" in said
            kill()
            assert await agent.task == Exit.DONE
        assert "STOPPING=1" in hear()


# -- verbs ----------------------------------------------------------------------------------------


async def test_status_and_link_say_what_is(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        assert (await control.link(agent.control, 5)).public_url == "https://relay.example"
        status = await control.status(agent.control)
        assert (status.linked, status.site, status.replica, status.problem) == (True, "plant", "r1", "")
        assert [(server.name, server.expose) for server in status.servers] == [("files", ["*"])]
        await agent.place.close()
        await until(lambda: agent.place.switchboard.links.greeted == 0, "the end")
        link = await control.link(agent.control, 0)
        while link.linked:
            link = await control.link(agent.control, 0)
        assert link.problem


@pytest.mark.parametrize("wait", [0, -1, 0.01, "5", True, None, 1e300])
async def test_link_takes_any_time_for_a_wait(tmp_path: Path, wait: object) -> None:
    async with agent_of(tmp_path) as agent:
        await control.link(agent.control, 5)
        assert (await control.ask(agent.control, "link", wait_s=wait))["linked"] is True


SHARED = 'command = ["/bin/cat"]\nprocess_per = "server"\n'


async def test_reload_offers_what_the_file_says_now(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        assert agent.place.switchboard.lacks("plant", "more")
        agent.configure(FILES + FILES.replace("files", "more") + "[servers.shut]\n" + SHARED)
        answer = await control.ask(agent.control, "reload")
        assert answer == {"servers": ["files", "more", "shut"]}
        await until(lambda: not agent.place.switchboard.lacks("plant", "more"), "the offer")
        assert agent.place.switchboard.lacks("plant", "shut"), "nothing of it is exposed"
        assert agent.endpoint.reloads == [{"files", "more", "shut", WHOLE_SITE}], "two expose something"
        assert agent.endpoint.shared_by_all == {"shut"}
        assert (await control.status(agent.control)).whole_site == ["files", "more"]


async def test_what_is_paused_is_in_force_shown_kept_and_found_again(tmp_path: Path) -> None:
    async with agent_of(tmp_path, FILES + FILES.replace("files", "more")) as agent:
        done = await control.pause(agent.control, "pause", "server", "files")
        assert (done.changed, done.ended, [each.what for each in done.entries]) == (
            True, 2, ["the server files"],
        )  # fmt: skip
        assert agent.endpoint.paused == pausing.load(agent.settings.state_dir)
        assert agent.endpoint.reloads == [{"files", "more", WHOLE_SITE}]
        assert [each.by_uid for each in (await control.status(agent.control)).paused] == [os.getuid()]
        assert not (await control.pause(agent.control, "pause", "server", "files")).changed
        await control.pause(agent.control, "pause", "everything", "")
        assert (await control.pause(agent.control, "resume", "server", "files")).changed
        with pytest.raises(control.ControlError, match="Say what"):
            await control.ask(agent.control, "pause", kind="who")
        for kind, name in (("server", ""), ("everything", "files")):
            with pytest.raises(control.ControlError, match="have a name"):
                await control.pause(agent.control, "pause", kind, name)
        kept = pausing.load(agent.settings.state_dir)
        assert [each.what for each in kept.entries] == ["everything"]
        agent.task.cancel()
        await asyncio.wait([agent.task])
        async with asyncio.TaskGroup() as tasks:
            again = tasks.create_task(daemon.run(agent.settings))
            await until(lambda: agent.control.exists() and agent.endpoint.paused == kept, "another life")
            again.cancel()


async def test_what_happens_and_what_leaves_is_in_the_ledger(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        asked = agent.ask(tasks)
        agent.endpoint.answer.set()
        answer = await asked
        assert not isinstance(answer, Exception)
        await body(answer)
        await control.pause(agent.control, "pause", "server", "files")
        await control.pause(agent.control, "resume", "server", "files")
        agent.configure(FILES.replace('["*"]', '["read_*"]'))
        await control.ask(agent.control, "reload")
        status = (await control.status(agent.control)).ledger
        agent.task.cancel()
        await asyncio.wait([agent.task])
    state_dir = agent.settings.state_dir
    said = records(state_dir)
    assert chained(state_dir)
    assert 0 < status.records < len(said)
    assert status.problem == ""
    left = [each for each in said if each["kind"] == "sent"]
    assert sum(int(str(each["bytes"])) for each in left) == 400_000
    events = [(each["what"], each.get("by_uid", -1)) for each in said if each["kind"] == "event"]
    uid = os.getuid()
    assert events == [
        ("started", -1),
        ("paused", uid),
        ("resumed", uid),
        ("configuration_read_again", uid),
        ("exposed", uid),
        ("hidden", uid),
        ("stopped", -1),
    ]
    assert said[-1]["kind"] == "head"


async def test_a_ledger_that_cannot_be_written_is_told_to_the_service_manager_and_to_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    monkeypatch.setattr(Notifier, "status", lambda _, text: notices.append(text))
    async with agent_of(tmp_path) as agent:
        with monkeypatch.context() as full:
            full.setattr(disk, "_write", _full)
            await control.pause(agent.control, "pause", "server", "files")
            assert "CANNOT BE WRITTEN (No space left on device)" in notices[-1]
            problem = (await control.status(agent.control)).ledger.problem
            assert problem == "No space left on device"


async def test_the_relay_is_told_how_much_waits_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticing, "NOTICE_EVERY", 0.02)
    monkeypatch.setattr(Withholding, "count", 0)
    monkeypatch.setattr(Approving, "waiting", 0)
    async with agent_of(tmp_path) as agent:
        name = AgentId("plant", (await control.status(agent.control)).agent)

        async def told(notice: Notice) -> None:
            await until(lambda: agent.place.door.notices.of(name) == notice, str(notice))

        await told(Notice(0, 0))
        monkeypatch.setattr(Withholding, "count", 3)
        await told(Notice(3, 0))
        monkeypatch.setattr(Approving, "waiting", 2)
        await told(Notice(3, 2))
        await control.pause(agent.control, "pause", "server", "files")
        await told(Notice(3, 2, paused=True))
        with monkeypatch.context() as full:
            full.setattr(disk, "_write", _full)
            await control.pause(agent.control, "resume", "server", "files")
            await told(Notice(3, 2, ledger_failing=True))


async def test_the_sites_own_program_hears_what_happened_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Mapping[str, object]]] = []
    ledgers: list[Writer] = []

    def opened(*args: object) -> Writer:
        ledgers.append(open_ledger(*args))  # type: ignore[arg-type]  # handed on as they are
        return ledgers[0]

    monkeypatch.setattr(daemon, "open_ledger", opened)
    monkeypatch.setattr(Hooks, "tell", lambda _, what, about: told.append((what, about)))
    async with agent_of(tmp_path, FILES) as agent:
        name = (await control.status(agent.control)).agent
        ledgers[0].alarm("the disk is full")
        ledgers[0].alarm("")
    assert [(what, about["site"], about["agent"], about["why"]) for what, about in told] == [
        ("ledger_failing", "plant", name, "the disk is full"),
        ("ledger_recovered", "plant", name, ""),
    ]


async def test_a_disk_that_takes_nothing_keeps_the_stop_button_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_of(
        tmp_path, FILES + FILES.replace("files", "more") + FILES.replace("files", "third")
    ) as agent:
        with monkeypatch.context() as full:
            full.setattr(pausing, "write_atomic", _full)
            full.setattr(configured, "spec", _full)
            with pytest.raises(control.ControlError, match="No space left"):
                await control.pause(agent.control, "pause", "server", "files")
            assert agent.endpoint.paused.servers == {"files"}
            site = agent.endpoint.specs[WHOLE_SITE]
            assert isinstance(site, SiteSpec)
            assert [member.name for member in site.members] == ["more", "third"]
        await control.pause(agent.control, "pause", "server", "files")
        assert pausing.load(agent.settings.state_dir).servers == {"files"}


def _full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_how_many_children_wait_is_read_at_the_start_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Mapping[str, int]] = []
    monkeypatch.setattr(Children, "keep_warm", lambda _, settings: told.append(settings))
    async with agent_of(tmp_path, FILES + "warm = 2\n") as agent:
        agent.configure(FILES + "[servers.more]\nwarm = 0\n" + SHARED)
        await control.ask(agent.control, "reload")
        status = await control.status(agent.control)
        assert [(server.warm, server.children) for server in status.servers] == [(0, 0), (0, 0)]
    assert told == [{"files": 2}, {"more": 0}]


RULE = '[[servers.files.rules]]\nname = "r"\nallow = ["read"]\n'


@pytest.mark.parametrize(
    "mistake",
    [
        RULE + RULE,
        RULE + 'approve = "sometimes"\n',
        RULE + "users = []\n",
        RULE + "[servers.files.rules.arguments.read]\npath = { matches = '(' }\n",
        'profile = "none"\n',
    ],
)
async def test_a_mistake_in_the_rules_keeps_all_as_it_was(tmp_path: Path, mistake: str) -> None:
    async with agent_of(tmp_path) as agent:
        agent.configure(FILES + RULE)
        await control.ask(agent.control, "reload")
        before, gate = list(agent.endpoint.reloads), agent.endpoint.gate
        agent.configure(FILES + mistake + FILES.replace("files", "more"))
        with pytest.raises(ControlError, match=r"servers\.files"):
            await control.ask(agent.control, "reload")
        kill(signal.SIGHUP)
        status = await control.status(agent.control)
        assert [server.name for server in status.servers] == ["files"]
        assert agent.endpoint.reloads == before
        assert agent.endpoint.gate is gate
        call = parse_caller(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}')
        assert isinstance(gate.inbound("files", Principal("i", "alice"), call), Denied)


async def test_what_people_have_used_is_kept_when_the_agent_stops(tmp_path: Path) -> None:
    budget = Charge("files", "r", Item.TOOL, "read", Budget(calls_per_day=1))
    async with agent_of(tmp_path, FILES + RULE) as agent:
        books = agent.endpoint.books
        now = time.time()
        books.take(("i", "alice"), [budget], now, now, runs=True)
        agent.task.cancel()
        await asyncio.wait([agent.task])
        again = kept.spent(agent.settings.state_dir)
        assert isinstance(again.take(("i", "alice"), [budget], now, now, runs=True), Over)


async def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        agent.configure("servers = 7\n")
        with pytest.raises(ControlError, match="servers"):
            await control.ask(agent.control, "reload")
        kill(signal.SIGHUP)
        status = await control.status(agent.control)
        assert [server.name for server in status.servers] == ["files"]
        assert not agent.endpoint.reloads
        assert not agent.place.switchboard.lacks("plant", "files")


# -- the end --------------------------------------------------------------------------------------


async def test_calls_under_way_finish_before_a_stopping_agent_leaves(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        [line] = agent.place.switchboard.links._lines.values()
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        kill()
        registry = agent.place.switchboard._registry
        await until(lambda: registry.pick("plant", "files", None) is None, "GOAWAY")
        assert not agent.task.done()
        agent.endpoint.answer.set()
        answer = await asking
        assert not isinstance(answer, Exception)
        assert not agent.task.done(), "the caller has not taken it all"
        assert len(await body(answer)) == 400_000
        answer.close(DoneReason.OK)
        assert await agent.task == Exit.DONE
        assert line.driver._websocket.close_code == CloseCode.GOING_AWAY
        assert not agent.control.exists()
        assert agent.endpoint.drained, "those who only listen were told"


async def test_a_stopping_agent_waits_for_answers_that_are_due_on_other_exchanges(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        agent.endpoint.none_left.clear()
        kill()
        registry = agent.place.switchboard._registry
        await until(lambda: registry.pick("plant", "files", None) is None, "GOAWAY")
        assert not agent.task.done()
        agent.endpoint.none_left.set()
        assert await agent.task == Exit.DONE


async def test_callers_of_what_does_not_finish_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "DRAIN", 0.05)
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        kill()
        error = await asking
        assert isinstance(error, OutcomeUnknown)
        assert "failed while the request ran" in str(error)
        assert await agent.task == Exit.DONE


async def test_a_second_signal_is_not_patient(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        before = asyncio.get_running_loop().time()
        kill(signal.SIGINT)
        registry = agent.place.switchboard._registry
        await until(lambda: registry.pick("plant", "files", None) is None, "GOAWAY")
        kill(signal.SIGINT)
        assert isinstance(await asking, OutcomeUnknown)
        assert await agent.task == Exit.DONE
        assert asyncio.get_running_loop().time() - before < daemon.DRAIN


async def test_an_agent_without_a_link_stops_at_once(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        await agent.place.close()
        await until(lambda: agent.place.switchboard.links.greeted == 0, "the end of the link")
        kill()
        assert await agent.task == Exit.DONE


async def test_what_starts_while_the_agent_falls_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group of tasks takes nothing more, and that must not end the link with an error of its own."""
    start = Intake.start

    def late(self: Intake, exchange: Served) -> None:
        with monkeypatch.context() as falling:
            falling.setattr(self.tasks, "_aborting", True)
            start(self, exchange)

    monkeypatch.setattr(Intake, "start", late)
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        assert isinstance(await agent.ask(tasks), OutcomeUnknown)
        assert agent.place.switchboard.links.greeted == 1
        assert agent.endpoint.serving.empty()


def confined_here(tmp_path: Path, text: str) -> Mapping[str, ChildSpec]:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    return configured.specs(load(Options(file, tmp_path / "state"), {}))


def test_a_kernel_without_landlock_is_said_in_the_log_of_each_server_that_would_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []

    class Log:
        def warning(self, event: str, *, server: str, **_more: object) -> None:
            said.append((event, server))

    monkeypatch.setattr(configured, "_log", Log())
    monkeypatch.setattr(kernel, "look", lambda: Kernel(machine="x86_64", seccomp=True))
    more = '[servers.more]\ncommand = ["/bin/cat"]\nisolation = "process"\n'
    assert set(confined_here(tmp_path, FILES + more)) == {"files", "more"}
    assert said == [("less_confined", "files")]


def test_a_level_that_cannot_be_had_is_a_mistake_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "look", lambda: Kernel(machine="x86_64", seccomp=True))
    with pytest.raises(Problem, match=r'servers.files: isolation = "landlock" cannot be had') as refused:
        confined_here(tmp_path, FILES + 'isolation = "landlock"\n')
    assert refused.value.status == Exit.USAGE
