"""``penstock-agent doctor``: looks at all that has to work, and says what to do about what does not."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say
from penstock_agent.problem import Exit, Problem, printable

if TYPE_CHECKING:
    from penstock_agent import control, state
    from penstock_agent.config import Settings
    from penstock_agent.doctor.findings import Finding

START_S = 30.0
"""Seconds that a server may take to start and to say what it offers."""
DEFAULTS = Path("/etc/default/penstock-agent")
_PROXIES = ("https_proxy", "no_proxy")


def doctor(
    servers: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVER]...", help="Only these servers; all without.")
    ] = None,
    no_servers: Annotated[bool, typer.Option("--no-servers", help="Do not start the servers.")] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Look at settings, files, the way to the relay, the ledger, and start each server once.

    It changes nothing, and runs beside a running agent or without one. Exit status 1 when something failed.
    """
    with problems(json):
        from penstock_agent.doctor import findings

        found: list[Finding] = []
        for each in _look(config, state_dir, servers or [], not no_servers):
            found.append(each)
            if not json:
                _tell(each)
        grade = findings.worst(found)
        if json:
            import msgspec

            emit({"grade": grade.value, "checks": msgspec.to_builtins(found)})
        else:
            counts = Counter(each.grade for each in found)
            say(", ".join(f"{counts[each]} {each.value}" for each in findings.Grade if counts[each]) + ".")
    raise typer.Exit(Exit.FAILED if grade is findings.Grade.FAILED else Exit.DONE)


def _tell(found: Finding) -> None:
    mark = "ok     " if found.grade == "ok" else found.grade.value.upper().ljust(7)
    about = f"{found.server}: " if found.server else ""
    say(f"{mark}  {found.check.ljust(11)}  {about}{printable(found.text, 2000)}")
    sys.stdout.flush()


def _look(config: Path | None, state_dir: Path | None, names: list[str], start: bool) -> Iterator[Finding]:
    from penstock_agent.config import Options, load
    from penstock_agent.doctor.findings import failed
    from penstock_agent.settings_file import ConfigError

    try:
        settings = load(Options(config, state_dir))
    except ConfigError as error:
        # Without them it is not known where anything else is.
        yield from (failed("settings", line) for line in str(error).splitlines())
        return
    chosen = list(dict.fromkeys(names)) or list(settings.servers)
    for name in chosen:
        settings.server(name)
    running, silent = _running(settings)
    _proxies_of(settings, running)
    yield from _settings(settings, running)
    joined, found = _joined(settings)
    yield from found
    yield from _agent(settings, running, silent)
    if joined is not None:
        yield from _relay(settings, joined, running)
        yield from _ledger(settings)
    yield from _servers(settings, chosen, running, start=start and _may_start(settings))


def _running(settings: Settings) -> tuple[control.Status | None, Problem | None]:
    """What the agent says; or why it says nothing."""
    from penstock_agent import control

    try:
        return asyncio.run(control.status(control.socket_to_ask(settings))), None
    except control.ControlError as error:
        return None, error


def _proxies_of(settings: Settings, running: control.Status | None) -> None:
    """The agent's environment says which proxy it takes; that of this shell says nothing about a service."""
    from penstock_agent.adding.trial import environment_of
    from penstock_agent.config import DEFAULT_STATE_DIR

    if running is not None:
        theirs = dict(environment_of(running.pid))
    elif settings.state_dir == DEFAULT_STATE_DIR and DEFAULTS.exists():
        theirs = {}
        with suppress(OSError, UnicodeDecodeError):
            for line in DEFAULTS.read_text().splitlines():
                name, sign, value = line.partition("=")
                if sign:
                    theirs[name.strip()] = value.strip().strip("\"'")
    else:
        return
    for name in [each for each in os.environ if each.lower() in _PROXIES]:
        del os.environ[name]
    os.environ.update({name: value for name, value in theirs.items() if name.lower() in _PROXIES})


def _settings(settings: Settings, running: control.Status | None) -> Iterator[Finding]:
    from penstock_agent.cli.mistakes import look_at_agent
    from penstock_agent.doctor import standing
    from penstock_agent.doctor.findings import failed, ok, warning

    wrong: list[str] = []
    notes: list[str] = []
    look_at_agent(settings, wrong, notes)
    yield from (failed("settings", text) for text in wrong)
    yield from (warning("settings", text) for text in notes)
    if running is not None:
        yield from standing.known(running, settings.servers)
    if not wrong:
        there = "" if settings.config_file.exists() else " does not exist: all is as by default"
        yield ok(
            "settings", f"{settings.config_file}{there or ' is well formed, and nobody else may change it'}"
        )


def _joined(settings: Settings) -> tuple[state.Joined | None, list[Finding]]:
    from penstock_agent import state
    from penstock_agent.doctor import kept
    from penstock_agent.doctor.findings import failed, ok

    try:
        joined = state.load(settings.state_dir)
        joined.key()
    except (state.StateError, OSError) as error:
        return None, [failed("state", str(error))]
    found = kept.folder(settings.state_dir)
    if (problem := kept.writable(settings.state_dir)) is not None:
        found.append(problem)
    if not found:
        who = f"{joined.id.agent} of the site {joined.id.site}"
        found = [ok("state", f"{settings.state_dir} is this agent's alone; joined as {who}")]
    return joined, [*found, kept.certificate(joined, time.time())]


def _agent(settings: Settings, running: control.Status | None, silent: Problem | None) -> Iterator[Finding]:
    from penstock import __version__
    from penstock_agent import control
    from penstock_agent.doctor import kept, standing
    from penstock_agent.doctor.findings import failed

    if running is None:
        yield failed("agent", str(silent))
    else:
        yield from standing.agent(running, __version__)
        try:
            waiting = asyncio.run(control.approvals(control.socket_to_ask(settings)))
            if (found := standing.approvals(waiting)) is not None:
                yield found
        except control.ControlError as error:
            yield failed("approvals", str(error))
    yield from kept.stopped(settings)


def _relay(settings: Settings, joined: state.Joined, running: control.Status | None) -> Iterator[Finding]:
    from penstock_agent.doctor import way
    from penstock_agent.doctor.findings import failed
    from penstock_agent.settings_file import ConfigError

    try:
        proxy = settings.proxy_for(joined.relay_url)
    except ConfigError as error:
        yield failed("proxy", str(error))
        return

    async def walk() -> list[Finding]:
        steps = way.walk(way.Way(joined, proxy, settings.ca_file), link=running is None)
        return [each async for each in steps]

    _busy(f"asking {joined.relay_url}")
    yield from asyncio.run(walk())


def _ledger(settings: Settings) -> Iterator[Finding]:
    from penstock_agent.doctor import kept

    yield from kept.ledger(settings)


def _may_start(settings: Settings) -> bool:
    """Servers run as the user of the state folder, in folders below it."""
    try:
        return os.geteuid() in (0, settings.state_dir.stat().st_uid)
    except OSError:
        return False


def _servers(
    settings: Settings, names: list[str], running: control.Status | None, *, start: bool
) -> Iterator[Finding]:
    from penstock_agent import pausing
    from penstock_agent.children.confinement import kernel
    from penstock_agent.cli.mistakes import look_at_server
    from penstock_agent.cli.trying import not_reviewed, try_out
    from penstock_agent.doctor import standing
    from penstock_agent.doctor.findings import failed, ok, warning

    if any(settings.servers[name].url is None for name in names):
        yield standing.machine(kernel.look(), unit=running is not None)
    yield from _containers(settings, names, unit=running is not None)
    marked = not_reviewed(settings)
    paused = None
    with suppress(Problem):  # told before
        paused = pausing.load(settings.state_dir)
    for name in names:
        server = settings.server(name)
        wrong: list[str] = []
        notes: list[str] = []
        look_at_server(settings, name, server, wrong, notes)
        yield from (failed("settings", text.removeprefix(f"server {name}: "), name) for text in wrong)
        yield from (warning("settings", text, name) for text in notes)
        if keys := marked.get(name):
            yield warning(
                "import",
                f"import wrote {', '.join(keys)}, which nobody has reviewed. Look at it, then: "
                "penstock-agent "
                f"servers accept {name}",
                name,
            )
        if (how := standing.confined(name, server, kernel.look(), running)) is not None:
            yield how
        if not start or paused is None or paused.server(name):
            continue
        _busy(f"{'starting' if server.url is None else 'connecting to'} {name} once")
        try:
            trial = try_out(settings, name, server, quiet=True, patience_s=START_S)
        except (Problem, OSError) as error:
            yield failed("start", str(error), name)
            continue
        if trial.works:
            what = " ".join(filter(None, (trial.name, trial.version))) or "it"
            yield ok("start", f"{what} offers {trial.tools} tools, {trial.seconds:.1f} s", name)
        else:
            why = trial.cause or trial.steps[-1].text
            step = trial.step or f"See: penstock-agent servers test {name}"
            yield failed("start", f"{why.rstrip('.')}. {step}", name)


def _containers(settings: Settings, names: list[str], *, unit: bool) -> Iterator[Finding]:
    """Podman, and the images, as the user of the agent has them."""
    from penstock_agent import asuser
    from penstock_agent.children.containers import podman
    from penstock_agent.doctor import standing
    from penstock_agent.doctor.findings import failed

    images = {name: image for name in names if (image := settings.server(name).image) is not None}
    if not images or not settings.state_dir.exists():
        return

    def look() -> bytes:
        import msgspec

        try:
            found = podman.look(os.environ, again=True)
            here = [podman.has(image, os.environ) for image in images.values()]
        except podman.PodmanError as error:
            return msgspec.msgpack.encode((None, str(error), []))
        return msgspec.msgpack.encode((found, "", here))

    import msgspec

    found, why, here = msgspec.msgpack.decode(
        asuser.call(look, settings.state_dir), type=tuple[podman.Podman | None, str, list[bool]]
    )
    if found is None:
        yield failed("podman", f"{why.rstrip('.')}.")
        return
    yield standing.podman(found, unit=unit)
    for (name, image), there in zip(images.items(), here, strict=True):
        yield standing.image(name, image, there)


def _busy(text: str) -> None:
    if sys.stderr.isatty() and sys.stdout.isatty():
        typer.echo(f"penstock-agent: {text} ...", err=True)
