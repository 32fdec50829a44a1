"""What is wrong with the settings on this machine, and what is only worth knowing."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings


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


def look_at_confinement(name: str, server: ServerSettings, wrong: list[str], notes: list[str]) -> None:
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
