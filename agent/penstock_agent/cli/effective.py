"""The settings in effect, and where each came from: as lines and as JSON."""

from __future__ import annotations

from contextlib import suppress
from json import dumps
from typing import TYPE_CHECKING

from penstock_agent import sizes
from penstock_agent.cli.common import say

if TYPE_CHECKING:
    from penstock_agent.config import Settings
    from penstock_agent.server_settings import ServerSettings


def as_json(settings: Settings) -> dict[str, object]:
    from penstock_agent.servers import members

    return {
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


def show(settings: Settings) -> None:
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
