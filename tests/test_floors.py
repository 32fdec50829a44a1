"""Imports only go down, pure modules stay pure, and nothing goes in circles."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.harness.imports import Floor, Import, cycle, imports, impure, matches, read, upward

ROOT = Path(__file__).parents[1]
CORE, AGENT, RELAY = "penstock", "penstock_agent", "penstock_relay"

# From the bottom up: a module may import its own floor and those below.
CORE_FLOORS = (
    Floor("the tunnel", ("penstock.tunnel.*",)),
    Floor(
        "small modules of the core",
        (
            "penstock",
            *(
                f"penstock.{name}"
                for name in (
                    "allowance", "canonical", "diagnosis", "enrolment", "envelope", "fingerprint", "heap",
                    "http", "joinstring", "jwk", "jwks", "jwt", "ledgerhead", "log", "lookalike", "names",
                    "outcome", "principal", "refusal", "renewal", "revocation", "strictjson", "tls",
                    "voucher",
                )
            ),
        ),
    ),
    Floor("the link", ("penstock.link",)),
)  # fmt: skip
AGENT_FLOORS = (
    *CORE_FLOORS,
    Floor(
        "values of the agent",
        (
            AGENT,
            *(f"{AGENT}.{n}" for n in ("alone", "asuser", "exchange", "files", "problem", "sizes")),
            *(f"{AGENT}.{n}" for n in ("tolerance", "undumpable")),
            *(f"{AGENT}.{n}" for n in ("dialer.proxy", "dialer.redial")),
            f"{AGENT}.renewal.schedule",
        ),
    ),
    Floor("the ledger", (f"{AGENT}.ledger.*",)),
    Floor("what is captured", (f"{AGENT}.capture.*",)),
    Floor("the gate", (f"{AGENT}.gate.*",)),
    Floor("whose word counts", (f"{AGENT}.callers.*",)),
    Floor("children", (f"{AGENT}.children.*",)),
    Floor("servers of the network", (f"{AGENT}.remote.*",)),
    Floor("what servers offer", (f"{AGENT}.catalogue.*",)),
    Floor("the endpoint", (f"{AGENT}.endpoint.*",)),
    Floor("all servers as one", (f"{AGENT}.site.*",)),
    Floor(
        "settings and state",
        tuple(
            f"{AGENT}.{name}"
            for name in (
                "config", "hooks", "kept", "pausing", "pinning", "policy_settings", "server_settings",
                "servers", "settings_file", "state", "systemd",
            )
        ),
    ),
    Floor(
        "the way out",
        (
            *(
                f"{AGENT}.{name}"
                for name in (
                    "dialer", "dialer.connect", "dialer.dialer", "dialer.heads", "dialer.notices",
                    "dialer.reach", "dialer.served",
                )
            ),
            f"{AGENT}.enrolment.*",
            *(f"{AGENT}.renewal.{name}" for name in ("renew", "renewer", "verdict")),
            f"{AGENT}.renewal",
        ),
    ),
    Floor(
        "administration",
        (
            *(
                f"{AGENT}.{name}"
                for name in (
                    "adding.*", "approvals", "control", "control.*", "doctor.*", "exposing.*", "hardening.*",
                    "livecalls", "untainting",
                )
            ),
            f"{AGENT}.withholding",
        ),
    ),
    Floor("the daemon", (f"{AGENT}.daemon.*",)),
    Floor("what the administrator looks at", (f"{AGENT}.console.*",)),
    Floor("commands", (f"{AGENT}.cli.*",)),
    # Servers to try the agent with. They are programs of their own: nothing imports them.
    Floor("examples", (f"{AGENT}.examples.*",)),
)  # fmt: skip
RELAY_FLOORS = (
    *CORE_FLOORS,
    Floor(
        "values of the relay",
        (
            RELAY,
            f"{RELAY}.audit.*",
            *(
                f"{RELAY}.{name}"
                for name in (
                    "address", "oauth", "oauth.assertion", "oauth.buckets", "oauth.choice", "oauth.client",
                    "oauth.copies", "oauth.factor", "oauth.factor.totp", "oauth.factor.tries",
                    "oauth.issuer", "oauth.limits", "oauth.metadata", "oauth.naming",
                    "oauth.offers", "oauth.organisation", "oauth.presets", "oauth.redirects",
                    "oauth.throttle", "oauth.tries",
                    "oauth.upstream", "oauth.upstream.idtoken", "oauth.upstream.person",
                    "oauth.vendors", "oauth.web", "passwords",
                )
            ),
        ),
    ),
    Floor(
        "documents of others",
        tuple(
            f"{RELAY}.oauth.{name}"
            for name in (
                "discovery", "fetch", "introspection", "issuers", "resolve", "signatures", "trusted",
                "upstream.provider",
            )
        ),
    ),
    Floor(
        "settings and files",
        (
            f"{RELAY}.config", f"{RELAY}.egress", f"{RELAY}.files", f"{RELAY}.listening",
            f"{RELAY}.sealed", f"{RELAY}.setting_values", f"{RELAY}.settings_file",
            f"{RELAY}.oauth.issuer_settings",
            f"{RELAY}.oauth.upstream.settings",
        ),
    ),
    Floor(
        "records",
        (
            f"{RELAY}.store.*", f"{RELAY}.ca.*", f"{RELAY}.access", f"{RELAY}.auditing", f"{RELAY}.bearers",
            f"{RELAY}.enrolment", f"{RELAY}.renewal", f"{RELAY}.standing", f"{RELAY}.oauth.tokens",
            f"{RELAY}.oauth.factor.recovery",
        ),
    ),
    Floor(
        "the authorization server",
        tuple(
            f"{RELAY}.oauth.{name}"
            for name in (
                "account", "authorize", "consent", "directory", "endpoints", "entrance", "factor.checking",
                "factor.page", "factor.step", "login", "pages",
                "resource", "server", "visit", "upstream.attempt", "upstream.login", "upstream.logout",
                "upstream.party", "upstream.sealing", "upstream.standing",
            )
        ),
    ),
    Floor("the switchboard", (f"{RELAY}.switchboard.*",)),
    Floor("doors", (f"{RELAY}.edge.*", f"{RELAY}.door.*", f"{RELAY}.ops", f"{RELAY}.asking")),
    Floor("the daemon", (f"{RELAY}.daemon",)),
    Floor("commands", (f"{RELAY}.cli.*",)),
)  # fmt: skip

# Values and `now` in, values out.
PURE = (
    "penstock.tunnel.*",
    *(
        f"penstock.{name}"
        for name in (
            "allowance", "canonical", "diagnosis", "enrolment", "envelope", "fingerprint", "http",
            "joinstring", "jwk", "jwt", "ledgerhead", "lookalike", "names", "outcome", "principal", "refusal",
            "renewal", "revocation", "strictjson", "voucher",
        )
    ),
    *(
        f"{AGENT}.{name}"
        for name in (
            *(f"adding.{n}" for n in ("causes", "containers", "documents", "packages", "placeholders")),
            "adding.secretwords",
            "children.backoff", "children.lines", "children.stderr", "doctor.findings",
            *(f"children.confinement.{n}" for n in ("bpf", "limits", "rights")),
            *(f"children.containers.{n}" for n in ("image", "run")), "children.units.reach",
            "catalogue.headervalue", "catalogue.mirrored",
            "endpoint.session.correlate", "endpoint.failures", "endpoint.limits", "endpoint.meta",
            "endpoint.permits", "endpoint.session.standing",
            *(f"endpoint.bridge.up.{n}" for n in ("interpreter", "out", "subscription", "translate")),
            *(f"endpoint.modern.{n}" for n in ("flights", "ladder", "messages", "schemas", "tasks")),
            "console.charts", "console.forms", "exchange", "exposing.differences",
            "gate.*", "ledger.entries", "ledger.happenings",
            "ledger.record", "ledger.retention", "sizes", "problem", "dialer.proxy", "dialer.redial",
            "renewal.schedule", "remote.address", "remote.protocol", "remote.sse", "remote.words",
        )
    ),
    *(
        f"{RELAY}.{name}"
        for name in (
            "address", "audit.*", "ca.rotation", "edge.callers", "edge.clientcert", "edge.deadlines",
            "edge.entries", "edge.failure", "edge.limits", "edge.order", "edge.peer", "edge.slow", "edge.sse",
            "edge.stats",
            "oauth.assertion", "oauth.authorize", "oauth.buckets", "oauth.choice", "oauth.client",
            "oauth.copies", "oauth.factor.totp", "oauth.factor.tries", "oauth.issuer", "oauth.limits",
            "oauth.metadata", "oauth.naming", "oauth.offers", "oauth.organisation",
            "oauth.presets", "oauth.redirects", "oauth.throttle",
            "oauth.tries", "oauth.upstream.idtoken", "oauth.upstream.person", "oauth.vendors", "oauth.web",
            "store.lineage", "switchboard.calls", "switchboard.registry",
        )
    ),
)  # fmt: skip
FORBIDDEN = (
    "aiohttp", "asyncio", "logging", "random", "secrets", "select", "socket", "ssl", "structlog",
    "subprocess", "threading", "time", "websockets",
)  # fmt: skip

# Started as programs of their own, by paths or in bare interpreters: nothing of ours may be needed but this.
ALONE = {
    f"{AGENT}.children.keeper_main": (),
    f"{AGENT}.children.launcher_main": (),
    f"{AGENT}.children.units.unit_main": (),
    f"{AGENT}.examples.*": (f"{AGENT}.examples.*",),
}

# Imported when the first server with a url is started, and not before.
NEEDS_HTTP = (f"{AGENT}.remote.web",)
# Imported by penstock-agent console.
NEEDS_CONSOLE = (f"{AGENT}.console.app", f"{AGENT}.console.pages")
# Imported when the first pattern of an operator's own is read.
NEEDS_RE2 = (f"{AGENT}.gate.regex",)

# Import name -> the dependency of pyproject.toml that brings it, where the names differ.
BROUGHT_BY = {
    "argon2": "argon2-cffi",
    "prometheus_client": "prometheus-client",
    "pydantic_core": "pydantic",
    "re2": "google-re2",
    "rich": "typer",
    "pydantic_settings": "pydantic-settings",
    "yarl": "aiohttp",
}

SOURCES = read([ROOT / "core/penstock", ROOT / "agent/penstock_agent", ROOT / "relay/penstock_relay"])


def of(*packages: str) -> dict[str, str]:
    return {name: text for name, text in SOURCES.items() if name.split(".")[0] in packages}


def strangers(sources: dict[str, str]) -> list[str]:
    """Imports between packages that may not know each other."""
    known = {CORE: {CORE}, AGENT: {CORE, AGENT}, RELAY: {CORE, RELAY}}
    return [
        str(found)
        for found in imports(sources)
        if (other := found.target.split(".")[0]) in known and other not in known[found.module.split(".")[0]]
    ]


def problems(sources: dict[str, str]) -> list[str]:
    """All that is wrong with the imports of our three packages."""
    halves = [
        ({m: s for m, s in sources.items() if m.split(".")[0] in (CORE, half)}, floors)
        for half, floors in ((AGENT, AGENT_FLOORS), (RELAY, RELAY_FLOORS))
    ]
    wrong = [text for half, floors in halves for text in upward(half, floors)]
    wrong += strangers(sources) + impure(sources, PURE, FORBIDDEN)
    wrong += [
        f"{found}: it must work alone"
        for found in imports(sources)
        for program, allowed in ALONE.items()
        if matches(found.module, [program]) and found.target in sources and not matches(found.target, allowed)
    ]
    if circle := cycle(sources):
        wrong.append("a circle: " + " -> ".join(circle))
    return list(dict.fromkeys(wrong))


def test_imports_only_go_down() -> None:
    assert upward(of(CORE, AGENT), AGENT_FLOORS) == []
    assert upward(of(CORE, RELAY), RELAY_FLOORS) == []


def test_agent_and_relay_know_the_core_and_never_each_other() -> None:
    assert strangers(SOURCES) == []


def test_pure_modules_import_nothing_that_waits_reads_a_clock_or_rolls_dice() -> None:
    assert impure(SOURCES, PURE, FORBIDDEN) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert cycle(SOURCES) == []


def test_all_rules_together_hold() -> None:
    assert problems(SOURCES) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("penstock.tunnel.credit", "import time", "imports time: it is pure"),
        ("penstock.tunnel.agent", "    from penstock import names", "the tunnel may not know small modules"),
        (
            "penstock.names",
            "from penstock.link import Driver",
            "small modules of the core may not know the link",
        ),
        ("penstock.names", "from .link import Driver", "imports penstock.link: small modules"),
        ("penstock.tunnel.link", "from .. import log", "imports penstock.log: the tunnel may not know"),
        ("penstock.tls", "import penstock_relay.ca", "penstock.tls:1 imports penstock_relay.ca"),
        ("penstock.log", "import penstock_agent", "penstock.log:1 imports penstock_agent"),
        (f"{AGENT}.dialer", f"from {RELAY} import door", f"{AGENT}.dialer:1 imports {RELAY}.door"),
        (f"{RELAY}.ops", f"import {AGENT}.cli", f"{RELAY}.ops:1 imports {AGENT}.cli"),
        (f"{AGENT}.gate.gate", f"from {AGENT} import endpoint", "the gate may not know the endpoint"),
        (
            f"{AGENT}.endpoint.session.session",
            f"from {AGENT}.config import load",
            "the endpoint may not know settings",
        ),
        (f"{AGENT}.cli.run", f"from {AGENT}.examples import library", "commands may not know examples"),
        (f"{AGENT}.children.keeper_main", "from penstock import log", "it must work alone"),
        (f"{AGENT}.dialer.redial", "    import random", "imports random: it is pure"),
        (f"{AGENT}.gate.read", "from penstock import tls", "imports penstock.tls, which is not pure"),
        (f"{RELAY}.edge.order", "import asyncio.events", "imports asyncio.events: it is pure"),
        (f"{RELAY}.switchboard.registry", "from time import monotonic", "imports time: it is pure"),
        (f"{RELAY}.store.database", f"from {RELAY}.daemon import serve", "records may not know the daemon"),
        (
            f"{RELAY}.store.sites",
            f"    from {RELAY}.store.tokens import Token",
            f"a circle: {RELAY}.store.sites -> {RELAY}.store.tokens -> {RELAY}.store.sites",
        ),
        ("penstock.novelty", "import json", "penstock.novelty stands on 0 floors"),
    ],
)
def test_the_checker_names_an_offender(module: str, line: str, complaint: str) -> None:
    """One import is added to one module; an indented one stands inside a function."""
    added = f"def late():\n{line}\n" if line.startswith(" ") else f"{line}\n"
    text = SOURCES.get(module, "")
    future = "from __future__ import annotations\n"
    found = problems({**SOURCES, module: added + text.replace(future, "")})
    assert any(complaint in text and module in text for text in found), found


def test_the_checker_does_not_mind_an_import_that_goes_down() -> None:
    module = f"{RELAY}.ops"
    assert problems({**SOURCES, module: f"{SOURCES[module]}\nfrom {RELAY}.store import Store\n"}) == []


def test_a_pure_module_that_is_gone_is_missed() -> None:
    without = {name: text for name, text in SOURCES.items() if name != f"{RELAY}.edge.slow"}
    assert f"{RELAY}.edge.slow is not there" in impure(without, PURE, FORBIDDEN)


def test_an_import_for_types_makes_no_circle() -> None:
    guarded = "if typing.TYPE_CHECKING:\n    from b import B\n"
    assert imports({"a": guarded, "b": ""}) == [Import("a", "b", 2, True)]
    assert cycle({"a": guarded, "b": "import a\n"}) == []
    assert cycle({"a": "from b import B\n", "b": "import a\n"}) in (["a", "b", "a"], ["b", "a", "b"])


def test_what_the_agent_imports_is_in_the_base_install_and_the_rest_in_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9_.-]", text, maxsplit=1)[0] for text in requirements}

    base, extras = names(project["dependencies"]), project["optional-dependencies"]
    allowed = {
        CORE: base,
        AGENT: base,
        RELAY: base | names(extras["relay"]),
    }
    needing = {module: base | names(extras["http"]) for module in NEEDS_HTTP}
    needing |= {module: base | names(extras["console"]) for module in NEEDS_CONSOLE}
    needing |= {module: base | names(extras["patterns"]) for module in NEEDS_RE2}
    wrong = []
    for found in imports(SOURCES):
        top = found.target.split(".")[0]
        ours = top in allowed or top in sys.stdlib_module_names
        known = needing.get(found.module, allowed[found.module.split(".")[0]])
        if not ours and BROUGHT_BY.get(top, top) not in known:
            wrong.append(str(found))
        if top not in sys.stdlib_module_names and matches(found.module, ["penstock.tunnel.*"]):
            assert top == CORE, f"{found}: the tunnel needs the standard library only"
    assert wrong == []
