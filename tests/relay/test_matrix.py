"""Who gets what: every route of the relay, asked by everybody, one table.

A cell says the status, and a word: answers of one row with the same word must not be told apart, so they are
byte-identical, headers and their order included; and so are those with the same capital word in all rows.
What is random in each answer (nonces, seals, cookies, names of new clients) is masked, and Date.

A route without a row fails `test_every_route_has_its_row`.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlencode

import pytest

from penstock.names import WHOLE_SITE
from penstock_relay import access, ops
from penstock_relay.access import Access
from penstock_relay.bearers import Bearers
from penstock_relay.edge import entries, order
from penstock_relay.edge.limits import Limits
from penstock_relay.edge.serve import serve_edge
from penstock_relay.edge.stats import Stats
from penstock_relay.oauth import organisation, server, tokens
from penstock_relay.oauth.factor import totp
from penstock_relay.oauth.metadata import CALLED, any_origin
from penstock_relay.ops import Readiness, serve_ops
from penstock_relay.store import Membership
from tests.harness.fake_switchboard import FakeSwitchboard
from tests.harness.person import filled_in
from tests.relay.oauth.visiting import DOCUMENT, FILES, ORIGIN, RESOURCE, Browser, Place, opened, query

CALL: Final = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search"}}'
NOW: Final = 100_000_000.0

# -- who asks ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Who:
    """What somebody has in hand: tokens of a client, the cookies of a browser, the word of an invitation."""

    bearer: str = ""
    refresh: str = ""
    cookies: Mapping[str, str] = field(default_factory=dict)
    word: str = ""


COLUMNS: Final = {
    "anonymous": "nothing at all",
    "another site": "a member, a grant and a browser of another site",
    "another site's token": "a personal access token of another site; else as anonymous",
    "no membership": "a grant, and a browser, of a user who is no member any more",
    "no grant": "a member of the site, with a grant for another server of it",
    "grant": "a member with a grant",
    "expired": "a grant, a login and an invitation that are too old",
    "revoked": "a revoked grant, a user who was disabled, an invitation that was used",
    "refresh token": "the refresh token, or the access token, where the other is wanted",
    "other user's grant": "another member, with a grant of his own",
    "site token": "a personal access token of the site",
    "server token": "a personal access token of one of its servers",
    "site grant": "a member with a grant for all servers of the site together",
}


async def people(here: Place) -> dict[str, Who]:
    """Everybody, by column."""
    store = here.store
    here.now = NOW
    here.sites.offers |= {("bergen", "files"): FILES, ("oslo", "mail"): FILES, ("oslo", WHOLE_SITE): FILES}
    for site in ("oslo", "bergen"):
        await store.sites.add(site, NOW)
    words: dict[str, str] = {}
    for user, site, server_name in (
        ("alice", "oslo", None), ("erin", "bergen", None), ("carl", "oslo", "files"), ("dora", "oslo", None),
        ("fred", "oslo", None), ("bob", "oslo", None), ("gina", "oslo", None), ("hana", "oslo", None),
    ):  # fmt: skip
        await here.add_user(user)
        await store.memberships.add(Membership(user, site, server_name, NOW))
        words[user] = await again(here, user, NOW - 1 if user == "gina" else NOW + 1000)

    async def granted(user: str, resource: str = RESOURCE) -> Who:
        browser = Browser(here)
        _, found = await here.redeem(await logged_in(browser, user, resource), resource=resource)
        return Who(found["access_token"], found["refresh_token"], browser.cookies, words[user])

    here.now = NOW - organisation.IDLE_S - 1
    old = await granted("gina")
    here.now = NOW
    alice = await granted("alice")
    cut = await granted("fred")
    await here.post("/oauth/revoke", {"token": cut.refresh, "client_id": DOCUMENT})
    await store.users.disable("fred", NOW)
    left = await granted("carl")
    await store.memberships.remove("carl", "oslo", "files")
    return {
        "anonymous": Who(),
        "another site": await granted("erin", f"{ORIGIN}/bergen/files/mcp"),
        "another site's token": Who(await personal(here, "bergen")),
        "no membership": left,
        "no grant": await granted("dora", f"{ORIGIN}/oslo/mail/mcp"),
        "grant": alice,
        "expired": old,
        "revoked": cut,
        "refresh token": Who(alice.refresh, alice.bearer, {"__Host-penstock-login": alice.refresh}),
        "other user's grant": await granted("bob"),
        "site token": Who(await personal(here, "oslo")),
        "server token": Who(await personal(here, "oslo", "files")),
        "site grant": await granted("hana", f"{ORIGIN}/oslo/mcp"),
    }


async def again(here: Place, user: str, until: float) -> str:
    """The word of another invitation, which leaves the password as it is."""
    word = tokens.secret()
    await here.store.users.invite(user, tokens.digest(word), here.now, until)
    return word


async def logged_in(browser: Browser, user: str, resource: str) -> str:
    """The code of a user who logs in and allows."""
    await browser.open("/oauth/authorize", query(resource=resource))
    await browser.log_in(user)
    await browser.submit(decision="allow")
    return browser.answer["code"]


async def personal(here: Place, site: str, server: str | None = None) -> str:
    text, record = access.issue(site, server, None, NOW, NOW + 1000)
    await here.store.tokens.create(record)
    return text


# -- how they ask --------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A running relay with everybody in its store, and what came back."""

    here: Place
    who: Mapping[str, Who]
    public: int
    ops: int
    grant: str
    access: Access
    switchboard: FakeSwitchboard

    async def send(
        self, port: int, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes]:
        """Status, and all that was on the wire, with what is random masked."""
        lines = {"Host": f"127.0.0.1:{port}", "Connection": "close"}
        lines |= {name.replace("_", "-"): value for name, value in headers.items() if value}
        if body:
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
            async with asyncio.timeout(10):
                raw = await reader.read()
        finally:
            writer.transport.abort()
        return int(raw.split(b" ", 2)[1]), masked(raw)


RANDOM: Final = (
    (rb"\r\nDate: [^\r]*", b""),
    (rb"nonce[-=]\"?[A-Za-z0-9_-]{22}", b"NONCE"),
    (rb'name="seal" value="[^"]*"', b"SEAL"),
    (rb"__Host-penstock-browser=[A-Za-z0-9_-]{43}", b"BROWSER"),
    (rb'"(client_id|client_secret)":"[^"]*"', b"CLIENT"),
    (rb"(code=)[A-Za-z0-9_-]{43}", b"CODE"),
)


def masked(raw: bytes) -> bytes:
    for pattern, word in RANDOM:
        raw = re.sub(pattern, word, raw)
    return raw


Ask: TypeAlias = Callable[[Scene, Who], Awaitable[tuple[int, bytes]]]


def everything(who: Who) -> dict[str, str]:
    """What somebody sends to a route that should not care: token and cookies."""
    cookies = "; ".join(f"{name}={value}" for name, value in who.cookies.items())
    return {"Cookie": cookies, "Authorization": f"Bearer {who.bearer}" if who.bearer else ""}


def plain(method: str, target: str, body: bytes = b"", **headers: str) -> Ask:
    async def ask(scene: Scene, who: Who) -> tuple[int, bytes]:
        return await scene.send(scene.public, method, target, body, **everything(who), **headers)

    return ask


def endpoint(method: str, target: str) -> Ask:
    kind = {"Content_Type": "application/json"} if method == "POST" else {}
    body = CALL if method == "POST" else b""
    return plain(method, target, body, Accept="application/json, text/event-stream", **kind)


def on_ops(method: str, target: str) -> Ask:
    async def ask(scene: Scene, who: Who) -> tuple[int, bytes]:
        return await scene.send(scene.ops, method, target, b"", **everything(who))

    return ask


def form(target: str, **fields: str | Callable[[Who], str]) -> Ask:
    """A form of a program, filled in with what somebody has."""

    async def ask(scene: Scene, who: Who) -> tuple[int, bytes]:
        given = {name: value if isinstance(value, str) else value(who) for name, value in fields.items()}
        body = urlencode({name: value for name, value in given.items() if value}).encode()
        kind = "application/x-www-form-urlencoded"
        return await scene.send(scene.public, "POST", target, body, Content_Type=kind)

    return ask


def page(target: str) -> Ask:
    """Opened in somebody's browser; a bearer token in it changes nothing."""
    return plain("GET", target)


def submitted(opened_at: str, action: str, **fields: str | Callable[[Scene], str]) -> Ask:
    """The form for `action` on a page, filled in and sent in the browser where the page was opened.

    Somebody for whom there is no such form sends the fields without a seal.
    """

    async def ask(scene: Scene, who: Who) -> tuple[int, bytes]:
        browser = Browser(scene.here, dict(who.cookies))
        path, _, rest = opened_at.partition("?")
        text = (await browser.open(path, rest)).body.decode()
        found = re.search(rf'<form method="post" action="{re.escape(action)}">(.*?)</form>', text, re.S)
        standing = filled_in(found[1]) if found else {}
        filled = {name: value if isinstance(value, str) else value(scene) for name, value in fields.items()}
        body = urlencode({**standing, **filled}).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        kind = "application/x-www-form-urlencoded"
        return await scene.send(scene.public, "POST", action, body, Content_Type=kind, Cookie=cookies)

    return ask


def invitation(method: str) -> Ask:
    async def ask(scene: Scene, who: Who) -> tuple[int, bytes]:
        target = f"/invite/{who.word or 'nonsense'}"
        if method == "GET":
            return await scene.send(scene.public, "GET", target)
        return await submitted(target, target, password="a new password", again="a new password")(scene, who)

    return ask


def her_grant(scene: Scene, who: Who) -> Awaitable[tuple[int, bytes]]:
    """The page of alice's grant."""
    return page(f"/oauth/grant?grant={scene.grant}")(scene, who)


def her_grant_changed(scene: Scene, who: Who) -> Awaitable[tuple[int, bytes]]:
    """Its form, left as it was."""
    opened_at = f"/oauth/grant?grant={scene.grant}"
    return submitted(opened_at, "/oauth/grant", grant=of_alice, decision="keep")(scene, who)


def of_alice(scene: Scene) -> str:
    """The id of her grant."""
    return scene.grant


# -- the table -----------------------------------------------------------------------------------------

Cells: TypeAlias = Mapping[str, tuple[int, str]]
Key: TypeAlias = tuple[str, str]


def all_alike(status: int, word: str = "same") -> Cells:
    """Nobody is told apart here."""
    return dict.fromkeys(COLUMNS, (status, word))


def cells(default: tuple[int, str], **others: tuple[int, str]) -> Cells:
    return {column: others.get(re.sub(r"\W", "_", column), default) for column in COLUMNS}


BAD: Final = (401, "bad token")
NOT_HERE: Final = (404, "NO ACCESS")


def at_endpoint(status: int, word: str = "") -> Cells:
    """The MCP endpoint: `status` for those who may use it."""
    return cells(
        BAD,
        anonymous=(401, "no token"),
        another_site_s_token=NOT_HERE,
        no_membership=NOT_HERE,
        grant=(status, word),
        other_user_s_grant=(status, word),
        site_token=(status, word),
        server_token=(status, word),
    )


def at_site(status: int, word: str = "") -> Cells:
    """That of all servers of the site together: for who has them all, and a grant for it is for no other."""
    return cells(
        BAD,
        anonymous=(401, "no token"),
        another_site_s_token=NOT_HERE,
        site_token=(status, word),
        server_token=NOT_HERE,
        site_grant=(status, word),
    )


NOWHERE: Final = cells(
    BAD, anonymous=(401, "no token"), another_site_s_token=NOT_HERE, site_token=NOT_HERE,
    server_token=NOT_HERE,
)  # fmt: skip
"""An endpoint that does not exist: nobody can tell it from one that is not theirs."""

LOGIN: Final = (200, "login")
AUTHORIZE: Final = cells(
    LOGIN,
    another_site=(403, ""),  # the page names the user
    no_membership=(403, ""),
    no_grant=(200, ""),
    grant=(200, ""),
    other_user_s_grant=(200, ""),
    site_grant=(200, ""),
)
OWN_PAGE: Final = cells(
    LOGIN,
    another_site=(200, ""),
    no_membership=(200, ""),
    no_grant=(200, ""),
    grant=(200, ""),
    other_user_s_grant=(200, ""),
    site_grant=(200, ""),
)
START_AGAIN: Final = (400, "again")
CONSENT: Final = cells(
    START_AGAIN,
    no_grant=(303, "code"),
    grant=(303, "code"),
    other_user_s_grant=(303, "code"),
    site_grant=(303, "code"),
)
HER_PAGE: Final = cells(
    LOGIN,
    another_site=(404, "not hers"),
    no_membership=(404, "not hers"),
    no_grant=(404, "not hers"),
    grant=(200, ""),
    other_user_s_grant=(404, "not hers"),
    site_grant=(404, "not hers"),
)
HER_CHANGE: Final = cells(
    LOGIN,
    another_site=START_AGAIN,
    no_membership=START_AGAIN,
    no_grant=START_AGAIN,
    grant=(303, ""),
    other_user_s_grant=START_AGAIN,
    site_grant=START_AGAIN,
)
LOGGED_OUT: Final = cells(
    START_AGAIN,
    another_site=(200, "out"),
    no_membership=(200, "out"),
    no_grant=(200, "out"),
    grant=(200, "out"),
    other_user_s_grant=(200, "out"),
    site_grant=(200, "out"),
)
DISCONNECT: Final = cells(
    LOGIN,
    another_site=(303, "back"),
    no_membership=(303, "back"),
    no_grant=(303, "back"),
    grant=(303, "back"),
    other_user_s_grant=(303, "back"),
    site_grant=(303, "back"),
)
INVITED: Final = cells(
    (404, "no such link"),
    another_site=(200, ""),
    no_membership=(200, ""),
    no_grant=(200, ""),
    grant=(200, ""),
    other_user_s_grant=(200, ""),
    site_grant=(200, ""),
)
FACTOR_CHANGE: Final = cells(
    LOGIN,
    another_site=(400, ""),  # the page names the user's key
    no_membership=(400, ""),
    no_grant=(400, ""),
    grant=(400, ""),
    other_user_s_grant=(400, ""),
    site_grant=(400, ""),
)
REFRESH: Final = cells(
    (400, "unknown"),
    another_site=(400, "other resource"),
    no_grant=(400, "other resource"),
    no_membership=(400, "no access"),
    revoked=(400, "no access"),  # of a user who was disabled, too
    grant=(200, ""),
    other_user_s_grant=(200, ""),
    site_grant=(400, "other resource"),
)
REGISTRATION: Final = b'{"redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"client_name":"Claude"}'
MY_REFRESH: Final = {"grant_type": "refresh_token", "client_id": DOCUMENT, "resource": RESOURCE}
A_KEY: Final = totp.shown(bytes(20))
AUTHORIZED_AT: Final = f"/oauth/authorize?{query()}"

MESSAGES: Final = "/oslo/files/messages?sessionId=a.b"

ROWS: Final[dict[Key, tuple[Ask, Cells]]] = {
    # -- the edge's own forms of path
    ("POST", "endpoint"): (endpoint("POST", "/oslo/files/mcp"), at_endpoint(200, "answer")),
    ("GET", "endpoint"): (endpoint("GET", "/oslo/files/mcp"), at_endpoint(200, "answer")),
    ("DELETE", "endpoint"): (endpoint("DELETE", "/oslo/files/mcp"), at_endpoint(200, "answer")),
    ("PUT", "endpoint"): (endpoint("PUT", "/oslo/files/mcp"), at_endpoint(405, "405")),
    ("OPTIONS", "endpoint"): (endpoint("OPTIONS", "/oslo/files/mcp"), at_endpoint(405, "405")),
    ("POST", "no such server"): (endpoint("POST", "/oslo/nowhere/mcp"), NOWHERE),
    ("POST", "no such site"): (endpoint("POST", "/nowhere/files/mcp"), NOWHERE),
    # -- HTTP+SSE
    ("GET", "sse"): (endpoint("GET", "/oslo/files/sse"), at_endpoint(200, "answer")),
    ("POST", "sse"): (endpoint("POST", "/oslo/files/sse"), at_endpoint(405, "405")),
    ("DELETE", "sse"): (endpoint("DELETE", "/oslo/files/sse"), at_endpoint(405, "405")),
    ("OPTIONS", "sse"): (endpoint("OPTIONS", "/oslo/files/sse"), at_endpoint(405, "405")),
    ("GET", "sse of no such server"): (endpoint("GET", "/oslo/nowhere/sse"), NOWHERE),
    ("GET", "sse of no such site"): (endpoint("GET", "/nowhere/files/sse"), NOWHERE),
    ("POST", "messages"): (endpoint("POST", MESSAGES), at_endpoint(200, "answer")),
    ("GET", "messages"): (endpoint("GET", MESSAGES), at_endpoint(405, "405")),
    ("DELETE", "messages"): (endpoint("DELETE", MESSAGES), at_endpoint(405, "405")),
    ("OPTIONS", "messages"): (endpoint("OPTIONS", MESSAGES), at_endpoint(405, "405")),
    ("POST", "messages to no such server"): (endpoint("POST", MESSAGES.replace("files", "nowhere")), NOWHERE),
    ("POST", "messages to no such site"): (endpoint("POST", MESSAGES.replace("oslo", "nowhere")), NOWHERE),
    # -- all servers of a site together
    ("POST", "site endpoint"): (endpoint("POST", "/oslo/mcp"), at_site(200, "answer")),
    ("GET", "site endpoint"): (endpoint("GET", "/oslo/mcp/"), at_site(200, "answer")),
    ("DELETE", "site endpoint"): (endpoint("DELETE", "/oslo/mcp"), at_site(200, "answer")),
    ("PUT", "site endpoint"): (endpoint("PUT", "/oslo/mcp"), at_site(405, "405")),
    ("OPTIONS", "site endpoint"): (endpoint("OPTIONS", "/oslo/mcp"), at_site(405, "405")),
    ("POST", "site endpoint of no such site"): (endpoint("POST", "/nowhere/mcp"), NOWHERE),
    ("GET", "sse of a site"): (page("/oslo/sse"), all_alike(404)),
    ("POST", "messages of a site"): (plain("POST", "/oslo/messages?sessionId=a.b", CALL), all_alike(404)),
    ("GET", "no form"): (page("/"), all_alike(404)),
    ("POST", "no form"): (plain("POST", "/oslo/files/mcp/more", CALL), all_alike(404)),
    # -- metadata: computed from the path, the same to all, of sites that exist and of others
    **{
        (method, "/.well-known/oauth-protected-resource{path}"): (
            plain(method, "/.well-known/oauth-protected-resource/oslo/files/mcp"),
            all_alike(200),
        )
        for method in ("GET", "HEAD")
    },
    **{
        (method, path): (plain(method, path), all_alike(200))
        for method in ("GET", "HEAD")
        for path in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
    },
    # -- what programs call
    **{
        ("POST", path): (plain("POST", path, REGISTRATION), all_alike(201))
        for path in ("/oauth/register", "/register")
    },
    **{
        ("POST", path): (form(path, **MY_REFRESH, refresh_token=lambda who: who.refresh), REFRESH)
        for path in ("/oauth/token", "/token")
    },
    ("POST", "/oauth/revoke"): (
        form("/oauth/revoke", client_id=DOCUMENT, token=lambda who: who.refresh),
        all_alike(200),  # RFC 7009: nobody learns whether there was such a token
    ),
    # -- what people see
    **{
        ("GET", path): (page(f"{path}?{query()}"), AUTHORIZE) for path in ("/oauth/authorize", "/authorize")
    },
    ("POST", "/oauth/consent"): (
        submitted(AUTHORIZED_AT, "/oauth/consent", decision="allow", query=query()), CONSENT,
    ),
    ("POST", "/oauth/login"): (
        form("/oauth/login", name="alice", password="guessed", next="/oauth/grants"),
        all_alike(400),  # a form that was made for no browser
    ),
    ("POST", "/oauth/code"): (
        form("/oauth/code", name="alice", code="000000", next="/oauth/grants"),
        all_alike(400),  # of nobody who has given the password
    ),
    ("POST", "/oauth/setup"): (
        form("/oauth/setup", name="alice", code="000000", key=A_KEY, next="/oauth/grants"),
        all_alike(400),
    ),
    ("GET", "/oauth/factor"): (page("/oauth/factor"), OWN_PAGE),
    ("POST", "/oauth/factor"): (
        submitted("/oauth/factor", "/oauth/factor", password="guessed", code="000000"), FACTOR_CHANGE,
    ),
    ("GET", "/oauth/grants"): (page("/oauth/grants"), OWN_PAGE),
    ("POST", "/oauth/grants"): (submitted("/oauth/grants", "/oauth/grants", grant=of_alice), DISCONNECT),
    ("GET", "/oauth/sign"): (page("/oauth/sign?query=q&seal=s"), all_alike(400)),
    ("GET", "/oauth/grant"): (her_grant, HER_PAGE),
    ("POST", "/oauth/grant"): (her_grant_changed, HER_CHANGE),
    ("POST", "/oauth/logout"): (submitted("/oauth/grants", "/oauth/logout"), LOGGED_OUT),
    ("GET", "/invite/{word}"): (invitation("GET"), INVITED),
    ("POST", "/invite/{word}"): (invitation("POST"), INVITED),
    # -- the ops listener
    ("GET", "ops /healthz"): (on_ops("GET", "/healthz"), all_alike(200)),
    ("GET", "ops /readyz"): (on_ops("GET", "/readyz"), all_alike(200)),
    ("GET", "ops /metrics"): (on_ops("GET", "/metrics"), cells((200, ""))),  # it counts what was asked
}  # fmt: skip


# -- the relay -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """A store with everybody in it, to be copied for each row."""

    folder: Path
    who: Mapping[str, Who]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("everybody")

    async def settle() -> Mapping[str, Who]:
        async with opened(folder) as here:
            return await people(here)

    return Template(folder, asyncio.run(settle()))


@asynccontextmanager
async def scene(template: Template, folder: Path) -> AsyncIterator[Scene]:
    """The public listener and the ops listener, over a copy of the template."""
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    ports: dict[str, int] = {}

    def public(host: str, port: int) -> str:
        ports["public"] = port
        return ORIGIN

    def private(host: str, port: int) -> None:
        ports["ops"] = port

    async def probe() -> None: ...

    async with opened(folder) as here, asyncio.TaskGroup() as tasks:
        here.now = NOW
        access, stats, switchboard = Access(here.store, clock=lambda: here.now), Stats(), FakeSwitchboard()
        await access.poll()
        running = (
            tasks.create_task(
                serve_edge(
                    "127.0.0.1", 0, listening=public, switchboard=switchboard, access=Bearers(access),
                    stats=stats, limits=Limits(linger_s=0.05), pages=lambda origin: here.server,
                )
            ),
            tasks.create_task(
                serve_ops(
                    "127.0.0.1", 0, listening=private, readiness=Readiness(probe, frozenset()),
                    stats=stats, links=lambda: 0,
                )
            ),
        )  # fmt: skip
        while len(ports) < 2:
            await asyncio.sleep(0)
        (grant,) = await here.store.grants.list(user="alice")
        try:
            yield Scene(here, template.who, ports["public"], ports["ops"], grant.id, access, switchboard)
        finally:
            for task in running:
                task.cancel()


# -- what must hold ------------------------------------------------------------------------------------


def routes(found: frozenset[tuple[str, str]]) -> set[Key]:
    """All that there is: `found` of the authorization server, and what the edge and the ops listener have."""
    known = set(found)
    known |= {(method, old) for method, path in found for old, new in server.ALIASES.items() if new == path}
    known |= {(method, "endpoint") for method in ("POST", "GET", "DELETE", "PUT", "OPTIONS")}
    known |= {
        (method, half) for half in ("sse", "messages") for method in ("POST", "GET", "DELETE", "OPTIONS")
    }
    known |= {(method, "site endpoint") for method in ("POST", "GET", "DELETE", "PUT", "OPTIONS")}
    known |= {("POST", "site endpoint of no such site"), ("GET", "sse of a site")}
    known |= {("POST", "messages of a site")}
    known |= {("POST", name) for name in ("no such server", "no such site", "no form")}
    known |= {("GET", f"sse of no such {what}") for what in ("server", "site")}
    known |= {("POST", f"messages to no such {what}") for what in ("server", "site")}
    assert set(order.FORMS) == {"own", "endpoint", "site endpoint"}, "say here what is asked of another form"
    known |= {("GET", "no form")}
    return known | {("GET", f"ops {path}") for path in ops.PATHS}


async def test_every_route_has_its_row(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        known = routes(here.server.routes)
    missing, stale = known - set(ROWS), set(ROWS) - known
    assert not missing, f"say in ROWS who gets what of {sorted(missing)}"
    assert not stale, f"ROWS has what the relay has not: {sorted(stale)}"
    for key, (_, row) in ROWS.items():
        assert set(row) == set(COLUMNS), key


def test_the_edge_tells_no_form_of_path_apart_that_is_not_listed() -> None:
    values = (*vars(order).values(), *vars(entries).values())
    patterns = {value for value in values if isinstance(value, re.Pattern)}
    of_paths = {pattern for pattern in patterns if pattern.pattern.startswith(("/(", "/[", r"/\."))}
    assert of_paths - {order._TARGET} == set(order.FORMS.values())


async def test_every_route_of_the_authorization_server_is_let_through_by_the_edge(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        for _, path in here.server.routes | {("", old) for old in server.ALIASES}:
            example = path.replace("{path}", "/oslo/files/mcp").replace("{word}", "a-word")
            assert order.FORMS["own"].fullmatch(example), path
    assert all(any_origin(path) for path in CALLED)


SEEN: Final[dict[str, dict[bytes, str]]] = defaultdict(dict)
"""Answers by the capital words of their cells, in all rows that ran."""


@pytest.mark.parametrize("key", ROWS, ids=" ".join)
async def test_everybody_gets_what_the_table_says_and_nobody_is_told_more(
    template: Template, tmp_path: Path, key: Key
) -> None:
    ask, row = ROWS[key]
    alike: dict[str, dict[bytes, str]] = defaultdict(dict)
    got: dict[str, int] = {}
    async with scene(template, tmp_path) as there:
        for column, (_, word) in row.items():
            status, raw = await ask(there, there.who[column])
            got[column] = status
            if word:
                (SEEN if word.isupper() else alike)[word].setdefault(raw, f"{column} of {key}")
    assert got == {column: status for column, (status, _) in row.items()}
    mine = {word for _, word in row.values() if word.isupper()}
    for word, answers in (*alike.items(), *((word, SEEN[word]) for word in mine)):
        assert len(answers) == 1, f"{word!r} is told apart:\n" + "\n".join(map(str, answers.items()))


async def test_a_call_is_made_in_the_name_of_its_own_user(template: Template, tmp_path: Path) -> None:
    async with scene(template, tmp_path) as there:
        ask, row = ROWS["POST", "endpoint"]
        for column in row:
            await ask(there, there.who[column])
        who = [call.principal.subject for call in there.switchboard.calls]
    assert who[:2] == ["alice", "bob"]
    assert len(who) == 4  # and the services of the personal tokens
    assert all(name.startswith("svc:") for name in who[2:])


async def test_nobody_ends_what_is_somebody_elses(template: Template, tmp_path: Path) -> None:
    """All but alice herself go through all that could end a grant of hers; then she makes a call."""
    ending = [("POST", "/oauth/grants"), ("POST", "/oauth/logout"), ("POST", "/oauth/revoke")]
    async with scene(template, tmp_path) as there:
        for key in (*ending, ("POST", "/oauth/token"), ("POST", "/oauth/consent")):
            for column in COLUMNS:
                if column not in ("grant", "refresh token"):
                    await ROWS[key][0](there, there.who[column])
        status, _ = await ROWS["POST", "endpoint"][0](there, there.who["grant"])
        assert status == 200
        await ROWS["POST", "/oauth/grants"][0](there, there.who["grant"])  # and now herself
        await there.access.poll()
        status, _ = await ROWS["POST", "endpoint"][0](there, there.who["grant"])
        assert status == 401
