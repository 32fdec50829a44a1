"""``penstock-agent config check``: every setting, where it came from, and what is wrong with it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from json import dumps
from typing import TYPE_CHECKING

import typer

from penstock_agent import sizes
from penstock_agent.cli.common import ConfigOption, JsonOption, StateDirOption, emit, problems, say
from penstock_agent.problem import Exit

if TYPE_CHECKING:
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings


def check(config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False) -> None:
    """Check agent.toml and the state folder; list the settings in effect. Exit status 2 for mistakes."""
    with problems(json):
        from penstock_agent.config import Options, load

        settings = load(Options(config, state_dir))
        wrong, notes = _look(settings)
        if json:
            emit(_as_json(settings, wrong, notes))
        else:
            _show(settings, wrong, notes)
    raise typer.Exit(Exit.USAGE if wrong else Exit.DONE)


def _look(settings: Settings) -> tuple[list[str], list[str]]:
    """What is wrong, and what is only worth knowing."""
    from penstock_agent import state
    from penstock_agent.config import ConfigError

    wrong: list[str] = []
    notes: list[str] = []
    try:
        joined = state.load(settings.state_dir)
        settings.proxy_for(joined.relay_url)
    except state.NotJoined as e:
        notes.append(str(e))
    except (state.StateError, ConfigError) as e:
        wrong.append(str(e))
    look_at_agent(settings, wrong, notes)
    for name, server in settings.servers.items():
        if server.url is None:
            _look_at_confinement(name, server, wrong, notes)
        look_at_server(settings, name, server, wrong, notes)
    _look_at_imported(settings, notes)
    return wrong, notes


def look_at_agent(settings: Settings, wrong: list[str], notes: list[str]) -> None:
    """What concerns no single server."""
    from cryptography import x509

    if settings.ca_file is not None:
        try:
            x509.load_pem_x509_certificates(settings.ca_file.read_bytes())
        except OSError as e:
            wrong.append(f"ca_file: {settings.ca_file} cannot be read: {e.strerror}.")
        except ValueError:
            wrong.append(f"ca_file: {settings.ca_file} holds no PEM certificate.")
    if settings.caller is not None and settings.caller.keys_file is not None:
        from penstock_agent.callers.pinned import InFile
        from penstock_agent.problem import Problem

        try:
            InFile(settings.caller.keys_file)
        except Problem as e:
            wrong.append(str(e))
    if not settings.servers:
        notes.append(
            f"No servers. Add a [servers.NAME] table with a command or a url to {settings.config_file}."
        )
    _look_at_site(settings, notes)


def look_at_server(
    settings: Settings, name: str, server: ServerSettings, wrong: list[str], notes: list[str]
) -> None:
    """One server's table, but for how far it can be confined."""
    if server.url is None:
        _look_at_places(settings, name, server, wrong)
    if server.url is not None:
        _look_at_remote(name, server, wrong, notes)
    elif server.image is not None:
        pass  # what podman has, doctor says
    # A note only: the unit's PATH is not the PATH of this shell.
    elif shutil.which(server.command[0], path=server.env.get("PATH", os.environ.get("PATH"))) is None:
        program = server.command[0]
        notes.append(
            f"servers.{name}.command: "
            + (
                f"there is no program {program}, or this user may not run it. Correct the path."
                if os.sep in program
                else f"{program} is not found on this PATH. Write the absolute path, or set PATH for the "
                "agent (systemctl edit penstock-agent)."
            )
        )
    if not server.expose:
        notes.append(f"servers.{name}: nothing is exposed. Run: penstock-agent expose {name}")
    _look_at_rules(name, server, notes)


def _look_at_rules(name: str, server: ServerSettings, notes: list[str]) -> None:
    from penstock_agent.gate.expose import Expose, Item, parse_pattern

    if server.rules and not any(rule.allow for rule in server.rules):
        notes.append(f"servers.{name}.rules: none of them allows anything, so nobody may use this server.")
    exposed = Expose.parse(server.expose)
    for rule in server.rules:
        for entry in rule.allow:
            pattern = parse_pattern(entry)
            wild = "*" in entry or ("?" in entry and pattern.kind is not Item.RESOURCE)
            if not wild and not exposed.shows(pattern.kind, pattern.glob):
                notes.append(
                    f"servers.{name}.rules: {rule.name!r} allows {entry}, which is not exposed, so nobody "
                    f"may use it. Run: penstock-agent expose {name} {entry}"
                )


def _look_at_imported(settings: Settings, notes: list[str]) -> None:
    """What import opened and nobody has accepted yet."""
    from penstock_agent.cli.trying import not_reviewed

    notes += [
        f"servers.{name}: import wrote {', '.join(keys)}, which nobody has reviewed. Look at it, then: "
        f"penstock-agent servers accept {name}"
        for name, keys in not_reviewed(settings).items()
    ]


def _look_at_site(settings: Settings, notes: list[str]) -> None:
    from penstock_agent.gate.expose import Expose, Item
    from penstock_agent.servers import members

    site = settings.site
    if site.model_fields_set and not members(settings.servers):
        notes.append(
            'site: does nothing until two servers expose something (those with trust = "caller" not counted).'
        )
    for alias, target in site.targets.items():
        if not Expose.parse(settings.server(target.server).expose).shows(Item.TOOL, target.name):
            notes.append(
                f"site.alias.{alias}: {target.server} does not expose {target.name}. "
                f"Run: penstock-agent expose {target.server} {target.name}"
            )


def _look_at_remote(name: str, server: ServerSettings, wrong: list[str], notes: list[str]) -> None:
    from importlib.util import find_spec

    from cryptography import x509

    from penstock_agent.remote import address
    from penstock_agent.remote.headers import BadHeader, Header
    from penstock_agent.remote.remotes import INSTALL

    where = f"servers.{name}"
    if find_spec("aiohttp") is None:
        wrong.append(f"{where}.url needs an HTTP client that is not installed here. Run: {INSTALL}")
    secrets = False
    for key, value in server.headers.items():
        header = Header(key, value)
        secrets |= header.file is not None
        try:
            header.read()
        except BadHeader as e:
            wrong.append(f"{where}.headers.{key}: {e}")
    if server.ca_file is not None:
        try:
            x509.load_pem_x509_certificates(server.ca_file.read_bytes())
        except OSError as e:
            wrong.append(f"{where}.ca_file: {server.ca_file} cannot be read: {e.strerror}.")
        except ValueError:
            wrong.append(f"{where}.ca_file: {server.ca_file} holds no PEM certificate.")
    if address.is_plain(server.url or ""):
        what = (
            "what is asked and answered, and the secrets in headers,"
            if secrets
            else "what is asked and answered"
        )
        notes.append(
            f"{where}.url: with http, {what} can be read and changed by whoever is on the network between. "
            "Write https where the server has it."
        )


def _effective(settings: Settings) -> dict[str, object]:
    from penstock_agent.dialer import proxy

    return {
        "state_dir": str(settings.state_dir),
        "runtime_dir": str(settings.runtime_dir),
        "proxy": proxy.redact(settings.proxy) if settings.proxy else None,
        "ca_file": str(settings.ca_file) if settings.ca_file else None,
        "call_timeout": settings.call_timeout,
        "max_children": settings.max_children,
        "close_stream_after": settings.close_stream_after,
        "log_level": settings.log_level,
    }


def _as_json(settings: Settings, wrong: list[str], notes: list[str]) -> dict[str, object]:
    from penstock_agent.servers import members

    return {
        "config_file": str(settings.config_file),
        "problems": wrong,
        "notes": notes,
        "settings": {
            name: {"value": value, "source": settings.sources[name]}
            for name, value in _effective(settings).items()
        },
        "servers": {
            name: {
                "command": list(server.command),
                "image": server.image,
                # Values may be secrets.
                "env": sorted(server.env),
                "url": server.url,
                "transport": server.transport,
                # These are not: secrets are in the files that they name.
                "headers": dict(server.headers),
                "ca_file": str(server.ca_file) if server.ca_file else None,
                "expose": list(server.expose),
                "profile": server.profile,
                "rules": [rule.model_dump(mode="json", exclude_none=True) for rule in server.rules],
                "sensitive": list(server.sensitive),
                **_confined(settings, server),
                "trust": server.trust,
                "process_per": server.process_per,
                "warm": server.warm,
                "redact": [rule.model_dump(mode="json") for rule in server.redact],
            }
            for name, server in settings.servers.items()
        },
        "ledger": settings.ledger.model_dump(mode="json"),
        "capture": None if settings.capture is None else settings.capture.model_dump(mode="json"),
        "taint": settings.taint.model_dump(mode="json"),
        "tolerance": settings.tolerance.model_dump(mode="json"),
        "site": {**settings.site.model_dump(mode="json"), "servers": members(settings.servers)},
        "caller": None if settings.caller is None else settings.caller.model_dump(mode="json"),
    }


def _show(settings: Settings, wrong: list[str], notes: list[str]) -> None:
    from penstock_agent.servers import members

    say(f"settings file {settings.config_file}{'' if settings.config_file.exists() else ' (does not exist)'}")
    for name, value in _effective(settings).items():
        source = settings.sources[name]
        shown = "not set" if value is None else value
        say(f"  {name} = {shown}" + ("" if source == "default" else f"   (from {source})"))
    for name, server in settings.servers.items():
        say(f"server {name}")
        if server.image is not None:
            say(f"  image = {server.image}")
        if server.url is not None:
            _show_remote(server)
        elif server.command or server.image is None:
            say(f"  command = {list(server.command)}")
        if server.env:
            say(f"  env = {', '.join(sorted(server.env))}   (values not shown)")
        say(f"  expose = {list(server.expose)}")
        _show_rules(server)
        if server.sensitive:
            say(f"  sensitive = {list(server.sensitive)}")
        for rule in server.redact:
            say(f"  redact {rule.in_words()}")
        if server.url is None:
            _show_confinement(settings, server)
        say(f'  trust = "{server.trust}"')
        say(f'  process_per = "{server.process_per}"')
        if server.warm is not None:
            say(f"  warm = {server.warm}")
    if together := members(settings.servers):
        say(f"site: {', '.join(together)} as one server")
        for name in ("name", "instructions"):
            if text := getattr(settings.site, name):
                say(f"  {name} = {dumps(text, ensure_ascii=False)}")
        for alias, meant in settings.site.alias.items():
            say(f'  alias {alias} = "{meant}"')
        say(f"  status = {str(settings.site.status).lower()}")
    kept = f"{settings.ledger.keep_days} days" if settings.ledger.keep_days else "for ever"
    most = sizes.shown(settings.ledger.max_size)
    say(f'ledger: sync = "{settings.ledger.sync}", kept {kept}, at most {most}')
    if (capture := settings.capture) is not None:
        most = sizes.shown(capture.max_size)
        say(f"capture: for {capture.recipient}, kept {capture.keep_days} days, at most {most}")
    if any(server.sensitive for server in settings.servers.values()):
        say(f'taint: after_sensitive = "{settings.taint.after_sensitive}", lasts {settings.taint.lasts} s')
    if off := [name for name, on in settings.tolerance.model_dump().items() if not on]:
        say(f"tolerance: off: {', '.join(off)}")
    if settings.caller is not None:
        say(f"caller: grants that {settings.caller.issuer} signed for {settings.caller.audience}")
    for text in notes:
        say(f"note: {text}")
    for text in wrong:
        say(f"WRONG: {text}")
    say("Something is wrong." if wrong else "The configuration is good.")


def _confined(settings: Settings, server: ServerSettings) -> dict[str, object]:
    """How its children would be confined, by a process like this one."""
    from penstock_agent.children.confinement import kernel
    from penstock_agent.children.confinement.plan import CannotConfine
    from penstock_agent.servers import confinement

    words = ("", "")
    if server.url is None:
        with suppress(CannotConfine):
            words = confinement(server, settings.private).words(kernel.look())
    return {
        "network": server.network if isinstance(server.network, str) else list(server.network),
        "isolation": words[0].partition(" ")[0] or server.isolation,
        "confinement": {"isolation": words[0] or None, "network": words[1] or None},
        "read": [str(path) for path in server.read],
        "write": [str(path) for path in server.write],
        "mounts": {str(path): str(place) for path, place in server.mounts.items()},
        "limits": server.limits.model_dump(),
    }


def _show_confinement(settings: Settings, server: ServerSettings) -> None:
    words = _confined(settings, server)["confinement"]
    assert isinstance(words, dict)  # noqa: S101  as it was made
    say(f"  isolation {words['isolation'] or 'cannot be had'}, network {words['network'] or 'cannot be had'}")
    for name in ("read", "write"):
        if paths := getattr(server, name):
            shown = [
                f"{path} (there {server.mounts[path]})" if path in server.mounts else str(path)
                for path in paths
            ]
            say(f"  {name} = {shown}")
    limits = ", ".join(f"{name} {value}" for name, value in server.limits if value is not None)
    say(f"  limits: {limits or 'none'}")


def _look_at_confinement(name: str, server: ServerSettings, wrong: list[str], notes: list[str]) -> None:
    from penstock_agent.children.confinement.plan import LANDLOCK_MISSING, CannotConfine, Level
    from penstock_agent.servers import confinement

    try:
        if confinement(server, ()).level is Level.PROCESS and server.isolation is None:
            notes.append(f'server {name}: confined as isolation = "process" only: {LANDLOCK_MISSING}.')
    except CannotConfine as e:
        wrong.append(f"server {name}: {e}")


def _look_at_places(settings: Settings, name: str, server: ServerSettings, wrong: list[str]) -> None:
    from penstock_agent.children import references
    from penstock_agent.children.confinement import places

    hidden = [os.path.realpath(path) for path in settings.private]
    changing = [str(path) for path in settings.changing]
    for key in ("read", "write"):
        for path in getattr(server, key):
            if problem := places.refused(str(path), hidden, changing):
                wrong.append(f"server {name}: {key} names {path}, {problem}")
            elif not path.exists():
                wrong.append(
                    f"server {name}: {key} names {path}, which does not exist. Correct or remove it."
                )
    for variable, value in server.env.items():
        # A credential is given to the service, not to this command.
        if references.file_of(value) is not None:
            try:
                references.resolve({variable: value}, {})
            except references.BadReference as e:
                wrong.append(f"server {name}: {e}")


def _show_rules(server: ServerSettings) -> None:
    from penstock_agent.policy_settings import in_words

    if server.profile is not None:
        say('  profile = "read_only": of the tools only those that the server marks as read-only')
    for rule in server.rules:
        say(f'  rule "{rule.name}": {in_words(rule)}')
    if server.rules:
        say("  what no rule allows is denied; what a rule denies is denied whatever others allow")


def _show_remote(server: ServerSettings) -> None:
    from penstock_agent.remote.address import looks_like_sse

    url = server.url or ""
    transport = server.transport or ("sse" if looks_like_sse(url) else "http")
    say(f'  url = "{url}", transport = "{transport}"')
    for name, value in server.headers.items():
        say(f'  header {name} = "{value}"')
    if server.ca_file is not None:
        say(f"  ca_file = {server.ca_file}")
