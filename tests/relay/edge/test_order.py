"""Of all that is wrong with a request, the first in the published order answers."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from penstock import http
from penstock.http import Headers, Refusal
from penstock.tunnel.frames import Purpose
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.limits import MAX_HEADER_BYTES, MAX_NAME, MAX_TOKEN
from penstock_relay.edge.order import NO_ACCESS, Admitted, Asked, Own, Place, admit, permit
from penstock_relay.oauth.issuer import Issuer, Opens

PLACE = Place.of("https://mcp.example.com", "10.0.0.1", 8080)
LISTED = Callers([ipaddress.ip_network("198.51.100.0/24")], [ipaddress.ip_network("10.0.0.0/8")])
RESTRICTED = replace(PLACE, callers=LISTED)
LIMIT = 1000


@dataclass(frozen=True)
class Scope:
    site: str = "oslo"
    server: str | None = None
    only_here: bool = False
    member: bool = True
    step_up: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A whole request with what the look-ups would say about it."""

    method: str = "POST"
    target: str = "/oslo/files/mcp"
    headers: Headers = (
        ("host", "mcp.example.com"),
        ("authorization", "Bearer good"),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("content-length", "10"),
    )
    scope: Scope | None = Scope()
    unknown: bool = False
    version: tuple[int, int] = (1, 1)
    remote: str = "198.51.100.1"

    def header(self, name: str, *values: str) -> Case:
        others = tuple(pair for pair in self.headers if pair[0] != name)
        return replace(self, headers=others + tuple((name, value) for value in values))


def judge(case: Case) -> Refusal | None:
    """What the handler does with the two halves, where callers are restricted."""
    asked = Asked(case.version, case.method, case.target, case.headers, case.remote)
    admitted = admit(asked, RESTRICTED)
    if isinstance(admitted, Refusal):
        return admitted
    assert isinstance(admitted, Admitted)
    return permit(admitted, case.scope, PLACE, unknown=case.unknown, limit=LIMIT)


def status(case: Case) -> int:
    refusal = judge(case)
    return 200 if refusal is None else refusal.status


def admitted(case: Case) -> Admitted:
    found = admit(Asked(case.version, case.method, case.target, case.headers), PLACE)
    assert isinstance(found, Admitted)
    return found


Fault = Callable[[Case], Case]
FAULTS: tuple[tuple[str, int, Fault], ...] = (
    ("malformed", 400, lambda case: case.header("expect", "a miracle")),
    ("host", 421, lambda case: case.header("host", "evil.example.com")),
    ("origin", 403, lambda case: case.header("origin", "https://evil.example.com")),
    ("path", 404, lambda case: replace(case, target="/oslo")),
    ("network", 403, lambda case: replace(case, remote="192.0.2.1")),
    ("token", 401, lambda case: replace(case, scope=None)),
    ("scopes", 403, lambda case: replace(case, scope=case.scope and Scope(step_up=("mcp:files",)))),
    (
        "access",
        404,
        lambda case: replace(case, scope=case.scope and replace(case.scope, site="bergen", server="x")),
    ),
    ("method", 405, lambda case: replace(case, method="PUT")),
    ("encoding", 415, lambda case: case.header("content-encoding", "gzip")),
    ("type", 415, lambda case: case.header("content-type", "text/plain")),
    ("accept", 406, lambda case: case.header("accept", "text/html")),
    ("length", 413, lambda case: case.header("content-length", str(LIMIT + 1))),
)


def test_a_good_request_passes() -> None:
    assert judge(Case()) is None


def test_of_every_combination_of_faults_the_first_answers() -> None:
    for size in range(1, len(FAULTS) + 1):
        for chosen in itertools.combinations(range(len(FAULTS)), size):
            case = Case()
            for index in chosen:
                case = FAULTS[index][2](case)
            name, expected, _ = FAULTS[chosen[0]]
            # A token that is not valid has no scope that could be the wrong one: 401 stays first.
            assert status(case) == expected, (name, [FAULTS[index][0] for index in chosen])


NO_TOKEN = Case().header("authorization")


@pytest.mark.parametrize(
    "case",
    [
        replace(Case(), version=(1, 2)),
        replace(Case(), version=(0, 9)),
        replace(Case(), method="CONNECT", target="mcp.example.com:443"),
        replace(Case(), target="https://mcp.example.com/oslo/files/mcp"),
        replace(Case(), target="*"),
        replace(Case(), target="/oslo/files/mcp#x"),
        replace(Case(), target="/oslo\\files/mcp"),
        replace(Case(), target="/osl\udcf8/files/mcp"),
        replace(Case(), target="/oslo/files/mcp?a=\udcff"),
        replace(Case(), target="/oslo/files/mcp?a=\x7f"),
        Case().header("host"),
        Case().header("host", "mcp.example.com", "mcp.example.com"),
        *(
            Case().header("host", f"mcp.example.com{bad}")
            for bad in ("/", "?", "#", "\\", ":x", ":123456", "\udce9")
        ),
        Case().header("host", "user@mcp.example.com"),
        Case().header("host", "a/../mcp.example.com?y"),
        Case().header("host", ""),
        Case().header("origin", "https://mcp.example.com", "https://mcp.example.com"),
        Case().header("authorization", "Bearer good", "Bearer good"),
        Case().header("mcp-session-id", "a", "b"),
        Case().header("mcp-session-id", "\udcff"),
        Case().header("accept", "application/json\udcff"),
        Case().header("mcp-param-x", "\udcff"),
        Case().header("mcp-param-" + "x" * MAX_NAME, "1"),
        Case().header("upgrade", "websocket"),
        Case().header("upgrade", "h2c"),
        Case().header("trailer", "x"),
        Case().header("transfer-encoding", "gzip, chunked").header("content-length"),
        replace(Case().header("transfer-encoding", "chunked").header("content-length"), version=(1, 0)),
        Case().header("content-length", "٣"),
        Case().header("content-length", "-1"),
        Case().header("content-length", "9" * 20),
        replace(Case(), method="GET"),
        replace(Case().header("transfer-encoding", "chunked").header("content-length"), method="DELETE"),
        Case().header("x", "a" * MAX_HEADER_BYTES),
        replace(Case(), headers=Case().headers + (("x", "y"),) * 60),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_malformed(case: Case) -> None:
    assert status(case) == 400


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/oslo/files/mcp", 200),
        ("/oslo/files/mcp/", 200),
        ("/oslo/files/mcp?x=1&access_token=good", 200),
        ("/o-s-1/-/mcp", 404),  # a form that is known, and a site that the token is not for
        ("/", 404),
        ("/oslo/files", 404),
        ("/oslo/files/mcp/x", 404),
        ("/oslo//mcp", 404),
        ("/Oslo/files/mcp", 404),
        ("/oslo/fil%65s/mcp", 404),
        ("/oslo/../files/mcp", 404),
        ("/os.lo/files/mcp", 404),
        (f"/{'a' * 41}/files/mcp", 404),
        ("/oauth/files/mcp", 404),
        ("/oslo/console/mcp", 404),
        ("/oslo/mcp", 200),  # all servers of the site together
        ("/oslo/mcp/", 200),
        ("/oslo/mcp?x=1", 200),
        ("/oslo/mcp/mcp", 200),  # one that is called mcp
        ("/mcp/mcp", 404),  # a site of that name
        ("/mcp", 404),
        ("/oslo/mcp/x", 404),
        ("/oslo/mcp//", 404),
        ("/Oslo/mcp", 404),
        ("/os.lo/mcp", 404),
        (f"/{'a' * 41}/mcp", 404),
        ("/oauth/mcp", 404),
        ("/console/mcp", 404),
        ("/invite/mcp", 404),
    ],
)
def test_only_one_form_of_path_is_an_endpoint(path: str, expected: int) -> None:
    assert status(replace(Case(), target=path)) == expected


@pytest.mark.parametrize("target", ["/oslo/sse", "/oslo/sse/", "/oslo/messages?sessionId=a.b"])
def test_that_a_whole_site_has_no_http_sse_is_said_without_a_token(target: str) -> None:
    refusal = judge(replace(NO_TOKEN, target=target))
    assert refusal is not None
    assert refusal.status == 404
    assert "HTTP+SSE is for single servers" in refusal.text


WHOLE = replace(Case(), target="/oslo/mcp")


def test_the_order_of_answers_is_the_same_at_a_whole_site() -> None:
    assert judge(WHOLE) is None
    for first, later in itertools.combinations(FAULTS, 2):
        assert status(first[2](later[2](WHOLE))) == first[1], (first[0], later[0])


@pytest.mark.parametrize(
    ("scope", "at_the_site", "at_the_server"),
    [
        (Scope(), 200, 200),  # a personal access token of the site
        (Scope(server="files"), 404, 200),  # of one server
        (Scope(server="", only_here=True), 200, 401),  # granted for the whole site
        (Scope(server="files", only_here=True), 401, 200),  # and for the server
        (Scope(server="", only_here=True, member=False), 404, 401),
        (Scope(site="bergen"), 404, 404),
        (Scope(site="bergen", server="", only_here=True), 401, 401),
        (None, 401, 401),
    ],
)
def test_a_token_for_a_whole_site_and_one_for_a_server_are_good_where_they_are_for(
    scope: Scope | None, at_the_site: int, at_the_server: int
) -> None:
    assert status(replace(WHOLE, scope=scope)) == at_the_site
    assert status(replace(Case(), scope=scope)) == at_the_server


STREAM = replace(Case(), method="GET", target="/oslo/files/sse").header("content-length")
MESSAGE = replace(Case(), target="/oslo/files/messages?sessionId=a.b").header("accept", "text/html")


@pytest.mark.parametrize("good", [STREAM, MESSAGE], ids=["sse", "messages"])
def test_the_order_of_answers_is_the_same_at_both_halves_of_http_sse(good: Case) -> None:
    assert judge(good) is None
    at_both = ("malformed", "host", "origin", "network", "token", "scopes", "access", "method", "encoding")
    only = ("type", "length") if good is MESSAGE else ("accept",)
    faults = [fault for fault in FAULTS if fault[0] in (*at_both, *only)]
    for first, later in itertools.combinations(faults, 2):
        assert status(first[2](later[2](good))) == first[1], (first[0], later[0])


@pytest.mark.parametrize(
    ("target", "purpose", "tail"),
    [
        ("/oslo/files/mcp", Purpose.MCP, "/mcp"),
        ("/oslo/files/sse/", Purpose.SSE, "/sse/"),
        ("/oslo/files/messages?sessionId=a.b", Purpose.MESSAGES, "/sse"),
        ("/oslo/mcp", Purpose.MCP, "/mcp"),
        ("/oslo/mcp/", Purpose.MCP, "/mcp/"),
    ],
)
def test_who_is_sent_to_log_in_is_told_of_the_url_that_was_pasted(
    target: str, purpose: Purpose, tail: str
) -> None:
    place = replace(PLACE, oauth=True)
    for case in (replace(NO_TOKEN, target=target), replace(Case(), target=target)):
        found = admit(Asked(case.version, case.method, case.target, case.headers), place)
        if isinstance(found, Admitted):
            assert found.purpose is purpose
            refusal = permit(found, None, place, unknown=False, limit=LIMIT)
            assert refusal is not None
        else:
            assert isinstance(found, Refusal)
            refusal = found
        assert refusal.status == 401
        what = "/oslo/files" if "files" in target else "/oslo"
        where = f"/.well-known/oauth-protected-resource{what}{tail}"
        assert (
            f'resource_metadata="https://mcp.example.com{where}"' in dict(refusal.headers)["www-authenticate"]
        )


def test_the_session_of_a_message_travels_as_a_header_and_a_header_does_not() -> None:
    found = admitted(MESSAGE.header("mcp-session-id", "not.this"))
    assert [pair for pair in found.headers if pair[0] == "mcp-session-id"] == [("mcp-session-id", "a.b")]


@pytest.mark.parametrize(
    "value",
    [
        "Basic good",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a,b",
        "Bearer å",
        "good",
        f"Bearer {'a' * (MAX_TOKEN + 1)}",
    ],
)
def test_what_is_no_bearer_token_is_401_without_a_look_up(value: str) -> None:
    refusal = judge(Case().header("authorization", value))
    assert refusal is not None
    assert refusal.status == 401
    assert refusal.headers == (("www-authenticate", 'Bearer realm="penstock"'),)


def test_a_token_that_is_not_valid_is_401_and_said_to_be_invalid() -> None:
    refusal = judge(replace(Case(), scope=None))
    assert refusal is not None
    assert refusal.headers == (("www-authenticate", 'Bearer realm="penstock", error="invalid_token"'),)


def test_a_token_in_the_query_is_no_token() -> None:
    assert status(replace(NO_TOKEN, target="/oslo/files/mcp?access_token=good")) == 401


def test_the_scheme_of_the_token_may_be_written_in_any_case() -> None:
    assert admitted(Case().header("authorization", "bEARER  good")).token == "good"


def test_no_access_is_one_answer_whatever_the_reason() -> None:
    reasons = [
        replace(Case(), scope=Scope(site="bergen")),
        replace(Case(), scope=Scope(server="crm")),
        replace(Case(), unknown=True),
        replace(Case(), scope=Scope(site="bergen"), unknown=True),
    ]
    assert [judge(case) for case in reasons] == [NO_ACCESS] * len(reasons)
    assert judge(replace(Case(), scope=Scope(server="files"))) is None


def test_the_public_origin_may_be_named_and_no_other() -> None:
    assert status(Case().header("origin", "https://mcp.example.com")) == 200
    for other in (
        "https://mcp.example.com:443",
        "http://mcp.example.com",
        "null",
        "https://mcp.example.com/",
        "",
    ):
        assert status(Case().header("origin", other)) == 403


@pytest.mark.parametrize(
    ("public_url", "listen", "host", "known"),
    [
        ("https://mcp.example.com", "10.0.0.1", "mcp.example.com", True),
        ("https://mcp.example.com", "10.0.0.1", "MCP.example.COM:443", True),
        ("https://mcp.example.com", "10.0.0.1", "mcp.example.com:80", False),
        ("https://mcp.example.com", "10.0.0.1", "mcp.example.com.", False),
        ("https://mcp.example.com", "10.0.0.1", "10.0.0.1:8080", False),
        ("https://mcp.example.com:8443", "127.0.0.1", "mcp.example.com:8443", True),
        ("https://mcp.example.com:8443", "127.0.0.1", "mcp.example.com", False),
        ("https://mcp.example.com", "127.0.0.1", "127.0.0.1:8080", True),
        ("https://mcp.example.com", "127.0.0.1", "localhost:8080", True),
        ("https://mcp.example.com", "127.0.0.1", "127.0.0.1:81", False),
        ("http://[::1]:8080", "::1", "[::1]:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_the_host_must_be_the_public_one_or_the_loopback_address(
    public_url: str, listen: str, host: str, known: bool
) -> None:
    asked = Asked((1, 1), "POST", "/oslo/files/mcp", Case().header("host", host).headers)
    found = admit(asked, Place.of(public_url, listen, 8080))
    assert isinstance(found, Admitted) if known else isinstance(found, Refusal) and found.status == 421


def test_what_travels_is_what_both_ends_agreed_on() -> None:
    case = Case().header("mcp-param-a", "1", "2").header("cookie", "c").header("last-event-id", "e")
    assert admitted(case).headers == http.forwarded(case.headers)
    assert {name for name, _ in admitted(case).headers} == {
        "accept",
        "content-type",
        "last-event-id",
        "mcp-param-a",
    }


def test_several_accept_headers_are_one_list() -> None:
    assert status(Case().header("accept", "application/json", "text/event-stream")) == 200


def test_a_body_in_chunks_has_no_length_yet() -> None:
    chunked = Case().header("transfer-encoding", "Chunked").header("content-length")
    assert admitted(chunked).length is None
    assert status(chunked) == 200
    assert status(Case().header("content-length", str(LIMIT))) == 200


# -- the authorization server ------------------------------------------------------------------------

WITH_OAUTH = replace(PLACE, oauth=True)
OWN_PATHS = [
    "/oauth/authorize",
    "/oauth/token",
    "/oauth/upstream/callback",
    "/authorize",
    "/register",
    "/invite/a-secret_word",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/oslo/files/mcp",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
]


def asked(method: str, target: str, *headers: tuple[str, str]) -> Asked:
    return Asked((1, 1), method, target, (("host", "mcp.example.com"), *headers))


@pytest.mark.parametrize("path", OWN_PATHS)
def test_the_relays_own_pages_need_no_token_and_are_not_there_when_switched_off(path: str) -> None:
    found = admit(asked("GET", f"{path}?a=%20b"), WITH_OAUTH)
    assert found == Own("GET", path, "a=%20b", 0)
    refusal = admit(asked("GET", path), PLACE)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404
    assert "switched off" in refusal.text


@pytest.mark.parametrize(
    "path", ["/oauth/", "/oauth/a/b", "/invite/", "/invite/a/b", "/.well-known/other", "/Token"]
)
def test_nothing_else_is_a_page_of_the_relays_own(path: str) -> None:
    refusal = admit(asked("GET", path), WITH_OAUTH)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


@pytest.mark.parametrize(
    ("path", "origin", "good"),
    [
        ("/oauth/token", "https://inspector.example", True),
        ("/.well-known/oauth-authorization-server", "null", True),
        ("/oauth/consent", "https://mcp.example.com", True),
        ("/oauth/consent", "https://evil.example", False),
        ("/oauth/login", "null", False),
        ("/oauth/grants", "https://evil.example", False),
        ("/oslo/files/mcp", "https://evil.example", False),
    ],
)
def test_only_what_trusts_no_cookie_is_open_to_pages_of_other_origins(
    path: str, origin: str, good: bool
) -> None:
    found = admit(asked("POST", path, ("origin", origin)), WITH_OAUTH)
    assert isinstance(found, Own) == good
    if not good:
        assert isinstance(found, Refusal)
        assert found.status == 403


@pytest.mark.parametrize("path", OWN_PATHS)
def test_own_pages_are_judged_for_host_and_form_as_all_are(path: str) -> None:
    for headers, expected in (((("host", "evil.example"),), 421), ((("host", "a b"),), 400), ((), 400)):
        found = admit(Asked((1, 1), "GET", path, headers), WITH_OAUTH)
        assert isinstance(found, Refusal)
        assert found.status == expected


@pytest.mark.parametrize("path", ["/no/such/mcp", "/no/such/mcp/"])
def test_a_challenge_says_where_to_log_in_for_every_well_formed_path(path: str) -> None:
    # With the slash that was typed: Claude refuses metadata of any other URL than the one it was given.
    where = f"https://mcp.example.com/.well-known/oauth-protected-resource{path}"
    found = admit(asked("POST", path), WITH_OAUTH)
    assert isinstance(found, Refusal)
    ((name, value),) = found.headers
    assert (found.status, name) == (401, "www-authenticate")
    assert value == f'Bearer realm="penstock", resource_metadata="{where}", scope="mcp"'
    stale = admit(asked("POST", path, ("authorization", "Bearer old")), WITH_OAUTH)
    assert isinstance(stale, Admitted)
    refusal = permit(stale, None, WITH_OAUTH, unknown=False, limit=1)
    assert refusal is not None
    assert f'resource_metadata="{where}"' in refusal.headers[0][1]


def test_a_granted_token_is_no_token_elsewhere_and_opens_nothing_to_a_former_member() -> None:
    case = replace(Case(), scope=Scope("oslo", "files", only_here=True))
    assert judge(case) is None
    for scope in (Scope("oslo", "mail", only_here=True), Scope("bergen", "files", only_here=True)):
        assert status(replace(case, scope=scope)) == 401
    former = replace(case, scope=Scope("oslo", "files", only_here=True, member=False))
    assert judge(former) == NO_ACCESS


# -- issuers outside ---------------------------------------------------------------------------------

ELSEWHERE = Issuer("https://login.example", (Opens("mcp:{server}", "oslo", "*"), Opens("all", "bergen", "x")))
OUTSIDE = replace(PLACE, issuers=(ELSEWHERE,))


def challenged(place: Place, path: str = "/no/such/mcp") -> str:
    found = admit(asked("POST", path), place)
    assert isinstance(found, Refusal)
    assert found.status == 401
    return found.headers[0][1]


def test_without_a_server_of_its_own_the_relay_leads_to_the_issuers() -> None:
    where = "https://mcp.example.com/.well-known/oauth-protected-resource/no/such/mcp"
    assert (
        challenged(OUTSIDE) == f'Bearer realm="penstock", resource_metadata="{where}", scope="mcp:such all"'
    )


def test_with_a_server_of_its_own_that_comes_first() -> None:
    assert challenged(replace(OUTSIDE, oauth=True)).endswith('scope="mcp"')


@pytest.mark.parametrize("path", OWN_PATHS)
def test_without_a_server_of_its_own_only_the_metadata_of_resources_is_there(path: str) -> None:
    found = admit(asked("GET", path), OUTSIDE)
    if path.startswith("/.well-known/oauth-protected-resource"):
        assert found == Own("GET", path, "", 0)
    else:
        assert isinstance(found, Refusal)
        assert found.status == 404


def test_a_good_token_whose_scopes_open_nothing_here_is_told_what_to_ask_for() -> None:
    here = Scope("oslo", "files", only_here=True, member=False, step_up=("mcp:files", "all"))
    found = judge(replace(Case(), scope=here))
    assert found is not None
    assert found.status == 403
    assert "mcp:files all" in found.text
    ((name, value),) = found.headers
    assert name == "www-authenticate"
    where = "https://mcp.example.com/.well-known/oauth-protected-resource/oslo/files/mcp"
    assert value == (
        f'Bearer realm="penstock", error="insufficient_scope", resource_metadata="{where}", '
        'scope="mcp:files all"'
    )


def test_the_step_up_is_the_same_whether_or_not_there_is_such_a_server() -> None:
    case = replace(Case(), scope=Scope("oslo", "files", only_here=True, member=False, step_up=("a",)))
    assert judge(case) == judge(replace(case, unknown=True))


# -- callers restricted to networks --------------------------------------------------------------------


@pytest.mark.parametrize("token", ["Bearer good", "Bearer bad", "nonsense", None])
def test_who_comes_from_elsewhere_learns_nothing_of_its_token(token: str | None) -> None:
    case = Case(remote="192.0.2.1")
    case = case.header("authorization", *(() if token is None else (token,)))
    refusal = judge(case)
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (403, ())
    assert refusal is judge(replace(case, target="/nowhere/nothing/mcp"))


def test_a_caller_behind_a_proxy_is_who_the_proxy_says_and_nobody_else_is() -> None:
    forwarded = ("x-forwarded-for", "198.51.100.7")
    for remote, expected in (("10.0.0.1", 200), ("192.0.2.1", 403)):
        case = Case(remote=remote)
        assert status(replace(case, headers=(*case.headers, forwarded))) == expected


def test_the_relays_own_pages_are_open_to_all_networks() -> None:
    place = replace(WITH_OAUTH, callers=LISTED)
    for path in OWN_PATHS:
        found = replace(asked("GET", path), remote="192.0.2.1")
        assert isinstance(admit(found, place), Own)


def test_since_2026_07_28_only_post_is_allowed_whatever_else_a_get_says() -> None:
    for method, accept in (("GET", "text/html"), ("GET", "text/event-stream"), ("DELETE", "*/*")):
        case = Case().header("content-length").header("accept", accept)
        case = replace(case.header("mcp-protocol-version", "2026-07-28"), method=method)
        assert status(case) == 405
