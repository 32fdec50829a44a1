"""What clients say of themselves: believed where it can be used, and refused with a sentence elsewhere."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock_relay.oauth import client, redirects
from penstock_relay.oauth.client import (
    BadClient,
    Client,
    Proof,
    Registration,
    from_document,
    is_document_url,
    parse_registration,
)
from tests.harness.jsontext import json_texts
from tests.harness.signing import public_jwk

URL: Final = "https://app.example.com/oauth/client.json"
CALLBACK: Final = "https://app.example.com/cb"
CODES: Final = {"invalid_client_metadata", "invalid_redirect_uri"}

# Names that would be read as something else than they are.
DECEIVING: Final = {
    "line feed": "a\nb",
    "NUL": "a\0b",
    "delete": "a\x7fb",
    "next line": "a\x85b",
    "right to left override": "a\u202eb",
    "isolate": "a\u2066b",
    "left to right mark": "a\u200eb",
    "zero width": "a\u200bb",
    "byte order mark": "a\ufeffb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "private use": "a\ue000b",
    "too long": "x" * (client.MAX_NAME + 1),
}


def metadata(**changes: object) -> bytes:
    """A good document; None removes a member."""
    values = {"client_id": URL, "client_name": "App", "redirect_uris": [CALLBACK], **changes}
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


def registration(**changes: object) -> bytes:
    """A good registration; None removes a member."""
    return metadata(**{"client_id": None, **changes})


def refused(data: bytes, *, code: str = "invalid_client_metadata", document: bool = True) -> str:
    """Both readers refuse `data`, or only that of registrations; the reason."""
    with pytest.raises(BadClient) as caught:
        parse_registration(data)
    assert caught.value.code == code
    if document:
        with pytest.raises(BadClient) as caught:
            from_document(URL, data)
        assert caught.value.code == code
    assert str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://claude.ai/oauth/claude-code-client-metadata",
        "https://chatgpt.com/oauth/aB-3_x/client.json",
        "https://a.example/x",
        "https://a.example:443/x",
        "https://a.example//x/",
        "https://1.a.example/x",
        "https://xn--bcher-kva.example/x",
        "https://a.example/..x/.well-known/x.",
        "https://a.example/".ljust(client.MAX_URL, "x"),
    ],
)
def test_urls_of_documents(url: str) -> None:
    assert is_document_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dcr-abcdefghij",
        "app.example.com/x",
        "http://a.example/x",
        "HTTPS://a.example/x",
        "https:/a.example/x",
        "https://a.example",
        "https://a.example/",
        "https://A.example/x",
        "https://a.example./x",
        "https://.a.example/x",
        "https://a..example/x",
        "https://-a.example/x",
        "https://a_b.example/x",
        "https://b\u00fccher.example/x",
        "https://localhost/x",
        "https://intranet/x",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://127.0.0.0x1/x",
        "https://0x7f.0x1/x",
        "https://a.1/x",
        "https://2130706433/x",
        "https://[::1]/x",
        "https://[::ffff:7f00:1]/x",
        "https://a.example:8443/x",
        "https://a.example:/x",
        "https://a.example:4430/x",
        "https://user@a.example/x",
        "https://user:secret@a.example/x",
        "https://@a.example/x",
        "https://a.example/x?secret=1",
        "https://a.example/x?",
        "https://a.example/x#",
        "https://a.example/x#y",
        "https://a.example/./x",
        "https://a.example/y/../x",
        "https://a.example/x/..",
        "https://a.example/%2e%2e/x",
        "https://a.example/a%2fb",
        "https://a.example/x y",
        "https://a.example/x\n",
        "https://a.example/x\\y",
        "https://a.example\\x/y",
        "https://a.example/\u00e9",
        "https://a.example/\ud800",
        " https://a.example/x",
        "https://a.example/".ljust(client.MAX_URL + 1, "x"),
    ],
)
def test_what_is_no_url_of_a_document(url: str) -> None:
    assert not is_document_url(url)


def test_a_document_describes_its_client() -> None:
    data = metadata(
        redirect_uris=["http://localhost/callback", "http://127.0.0.1/callback"],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
        client_uri="https://app.example.com",
        logo_uri="https://10.0.0.1/logo.png",  # is not looked at
        contacts=["a@example.com"],
    )
    assert from_document(URL, data) == Client(
        client_id=URL,
        name="App",
        redirect_uris=("http://localhost/callback", "http://127.0.0.1/callback"),
        auth_method="none",
        secret_hash=None,
        host="app.example.com",
    )


def test_a_document_needs_no_more_than_its_id_and_where_to_go_back_to() -> None:
    found = from_document(URL, metadata(client_name=None))
    assert (found.name, found.auth_method) == ("app.example.com", "none")


@pytest.mark.parametrize(
    "other",
    [
        None,
        "",
        1,
        [URL],
        URL + "/",
        URL.upper(),
        URL.replace("https://app.example.com", "https://app.example.com:443"),
        "https://evil.example/oauth/client.json",
    ],
)
def test_a_document_names_the_url_it_lies_at_byte_for_byte(other: object) -> None:
    with pytest.raises(BadClient, match="another client_id"):
        from_document(URL, metadata(client_id=other))


@pytest.mark.parametrize("member", ["client_secret", "client_secret_expires_at"])
@pytest.mark.parametrize("value", ["s3cret", "", 0])
def test_a_document_holds_no_secret(member: str, value: object) -> None:
    with pytest.raises(BadClient, match="no secret") as caught:
        from_document(URL, metadata(**{member: value}))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "method", ["client_secret_post", "client_secret_basic", "client_secret_jwt", "", 1, []]
)
def test_a_client_with_a_document_shares_no_secret(method: object) -> None:
    with pytest.raises(BadClient, match="token_endpoint_auth_method"):
        from_document(URL, metadata(token_endpoint_auth_method=method))


KEYS_URI = "https://app.example.com/keys.json"


def signing(**changes: object) -> bytes:
    values: dict[str, object] = {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": KEYS_URI}
    return metadata(**{**values, **changes})


def test_a_client_with_a_document_may_sign() -> None:
    found = from_document(URL, signing())
    assert (found.auth_method, found.proof) == ("private_key_jwt", Proof(jwks_uri=KEYS_URI))
    found = from_document(URL, signing(token_endpoint_auth_signing_alg="RS256"))
    assert found.proof == Proof(jwks_uri=KEYS_URI, algorithm="RS256")
    keys = {"keys": [public_jwk("ec")]}
    found = from_document(URL, signing(jwks_uri=None, jwks=keys))
    assert found.proof is not None
    assert found.proof.jwks is not None
    assert json.loads(found.proof.jwks) == keys


def test_keys_of_a_client_that_does_not_sign_are_nothing() -> None:
    assert from_document(URL, signing(token_endpoint_auth_method="none")).proof is None


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks_uri": None},
        {"jwks": {"keys": [public_jwk("ec")]}},  # and jwks_uri
        {"jwks_uri": None, "jwks": {"keys": []}},
        {"jwks_uri": None, "jwks": "keys"},
        {"jwks_uri": None, "jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
        {"jwks_uri": 7},
        {"jwks_uri": "http://client.example/keys.json"},
        {"jwks_uri": "https://keys.example/keys.json"},
        {"jwks_uri": "https://app.example.com.evil.example/keys.json"},
        {"jwks_uri": "https://app.example.com:8443/keys.json"},
        {"jwks_uri": "https://127.0.0.1/keys.json"},
        {"jwks_uri": "https://app.example.com/../keys.json"},
        {"jwks_uri": "https://app.example.com"},
        {"token_endpoint_auth_signing_alg": "HS256"},
        {"token_endpoint_auth_signing_alg": "none"},
        {"token_endpoint_auth_signing_alg": ["RS256"]},
    ],
    ids=lambda changes: (
        " ".join(f"{name}={value}"[:60] for name, value in changes.items() if name != "jwks") or "jwks"
    ),
)
def test_a_client_that_signs_shows_its_keys_on_its_own_host(changes: dict[str, object]) -> None:
    with pytest.raises(BadClient) as caught:
        from_document(URL, signing(**changes))
    assert caught.value.code == "invalid_client_metadata"


def test_a_registration_is_read() -> None:
    data = registration(
        redirect_uris=[CALLBACK, "http://localhost/cb"],
        token_endpoint_auth_method="none",
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        scope="mcp",
        client_id="chosen by the client",
        software_id={"not": ["known"]},
    )
    assert parse_registration(data) == Registration("App", (CALLBACK, "http://localhost/cb"), "none")


@pytest.mark.parametrize("method", ["none", "client_secret_post", "client_secret_basic"])
def test_a_registration_chooses_how_the_client_proves_itself(method: str) -> None:
    assert parse_registration(registration(token_endpoint_auth_method=method)).auth_method == method


def test_a_registration_that_chooses_nothing_gets_what_the_standard_says() -> None:
    found = parse_registration(registration(client_name=None))
    assert found.auth_method == "client_secret_basic"
    assert found.name


@pytest.mark.parametrize("method", ["private_key_jwt", "NONE", "", None, 1, ["none"], {"none": 1}])
def test_a_registration_cannot_choose_another_way(method: object) -> None:
    values = json.loads(registration())
    refused(json.dumps({**values, "token_endpoint_auth_method": method}).encode(), document=False)


@pytest.mark.parametrize(
    "uris",
    [
        None,
        [],
        CALLBACK,
        {CALLBACK: 1},
        [1],
        [None],
        [[CALLBACK]],
        [CALLBACK, "javascript:alert(1)"],
        [CALLBACK, "http://app.example.com/cb"],
        [CALLBACK, "cursor://oauth"],
        [CALLBACK, ""],
    ],
)
def test_every_redirect_uri_must_be_good(uris: object) -> None:
    refused(metadata(redirect_uris=uris), code="invalid_redirect_uri")


def uris(count: int) -> list[str]:
    return [f"https://a.example/{number}" for number in range(count)]


def test_redirect_uris_are_counted() -> None:
    most = client.MAX_REDIRECTS
    assert len(parse_registration(registration(redirect_uris=uris(most))).redirect_uris) == most
    refused(registration(redirect_uris=uris(most + 1)), code="invalid_redirect_uri", document=False)
    most = client.MAX_DOCUMENT_REDIRECTS
    assert len(from_document(URL, metadata(redirect_uris=uris(most))).redirect_uris) == most
    with pytest.raises(BadClient) as caught:
        from_document(URL, metadata(redirect_uris=uris(most + 1)))
    assert caught.value.code == "invalid_redirect_uri"


@pytest.mark.parametrize(
    "flow",
    [
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["refresh_token"]},
        {"grant_types": []},
        {"grant_types": "authorization_code"},
        {"grant_types": {"authorization_code": 1}},
        {"response_types": ["token"]},
        {"response_types": ["code", "token"]},
        {"response_types": ["code id_token"]},
        {"response_types": "code"},
        {"response_types": [["code"]]},
    ],
)
def test_other_flows_are_not_offered(flow: dict[str, Any]) -> None:
    refused(metadata(**flow))


@pytest.mark.parametrize("flow", [{"response_types": []}, {"response_types": ["code"]}, {}])
def test_clients_that_say_little_get_the_code_flow(flow: dict[str, Any]) -> None:
    assert from_document(URL, metadata(**flow)).redirect_uris
    assert parse_registration(registration(**flow)).redirect_uris


@pytest.mark.parametrize("name", list(DECEIVING.values()), ids=list(DECEIVING))
def test_a_name_that_cannot_be_shown_as_it_is_is_refused(name: str) -> None:
    assert name not in refused(metadata(client_name=name))


@pytest.mark.parametrize("name", [1, True, ["App"], {"en": "App"}])
def test_a_name_is_text(name: object) -> None:
    refused(metadata(client_name=name))


@pytest.mark.parametrize("name", ["Claude", "B\u00fccher & Co. <b>", "\u8ff7\u4f60", "x" * client.MAX_NAME])
def test_other_names_are_kept_as_they_are(name: str) -> None:
    assert from_document(URL, metadata(client_name=name)).name == name
    assert parse_registration(registration(client_name=f" {name[:90]} ")).name == name[:90]


def test_a_name_of_spaces_is_none() -> None:
    for name in ("", "  "):
        assert from_document(URL, metadata(client_name=name)).name == "app.example.com"


def test_a_host_that_stands_in_for_a_name_is_no_longer_than_one() -> None:
    url = f"https://{'a.' * 60}example/x"
    with pytest.raises(BadClient, match="client_name"):
        from_document(url, metadata(client_id=url, client_name=None))
    assert from_document(url, metadata(client_id=url)).name == "App"


def test_a_registration_may_be_as_long_as_the_limit_and_no_longer() -> None:
    data = registration()
    parse_registration(data.ljust(client.MAX_REGISTRATION))
    refused(data.ljust(client.MAX_REGISTRATION + 1), document=False)


def test_a_document_may_be_longer() -> None:
    assert from_document(URL, metadata().ljust(client.MAX_REGISTRATION * 4)).name == "App"


GOOD: Final = metadata()[:-1]  # without its last brace


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"[{}]",
        b'"x"',
        b"1",
        b"{",
        GOOD,
        GOOD + b"}}",
        GOOD + b',"client_id":"x"}',
        GOOD + b',"redirect_uris":["https://evil.example/"]}',
        GOOD + b',"redirect\\u005furis":["https://evil.example/"]}',
        GOOD + b',"x":{"y":1,"y":2}}',
        GOOD + b',"x":NaN}',
        GOOD + b',"x":Infinity}',
        GOOD + b',"x":-Infinity}',
        GOOD + b',"x":"\xff"}',
        GOOD + b',"x":"\\ud800"}',
        GOOD + b',"x":"\n"}',
        GOOD + b",}",
        GOOD + b"} // x",
        b"\xef\xbb\xbf" + GOOD + b"}",
        (GOOD + b"}").decode().encode("utf-16"),
        GOOD + b',"x":' + b"[" * 20 + b"]" * 20 + b"}",
        GOOD + b',"x":' + b"[" * 1500 + b"]" * 1500 + b"}",
        GOOD + b',"x":' + b"[" * 3000,
        GOOD + b',"x":[' + b"{}," * 300 + b"{}]}",
        GOOD + b',"x":{' + b",".join(b'"%d":1' % number for number in range(300)) + b"}}",
    ],
)
def test_what_is_not_one_plain_object_is_refused(data: bytes) -> None:
    refused(data)


def read(data: bytes) -> list[Client | Registration]:
    """What can be read from `data`. Nothing but BadClient may come out of the readers."""
    found: list[Client | Registration] = []
    codes: set[str] = set()
    readers: list[Callable[[bytes], Client | Registration]] = [
        partial(from_document, URL),
        parse_registration,
    ]
    for reader in readers:
        try:
            found.append(reader(data))
        except BadClient as error:
            codes.add(error.code)
    assert codes <= CODES
    return found


@given(st.one_of(st.binary(), json_texts.map(str.encode), json_texts.map(lambda text: text.encode("utf-16"))))
@example(b"[" * 100_000)
@example(b'{"x":' * 50_000)
@example(b"9" * 10_000)
def test_garbage_is_refused(data: bytes) -> None:
    assert read(data) == []


FIELDS: Final = [
    "client_id", "client_name", "redirect_uris", "token_endpoint_auth_method", "grant_types",
    "response_types", "client_secret", "scope",
]  # fmt: skip
_words = st.one_of(
    st.sampled_from(
        [URL, CALLBACK, "none", "client_secret_post", "authorization_code", "code", "http://localhost/"]
    ),
    st.text(max_size=5),
)
_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _words, st.lists(_words, max_size=3)
)


@given(st.dictionaries(st.sampled_from(FIELDS), _values), st.integers(0, 400), st.binary(max_size=2))
def test_whatever_is_read_can_be_used(changes: dict[str, object], at: int, slip: bytes) -> None:
    data = json.dumps({**json.loads(metadata()), **changes}).encode()
    for text in (data, data[:at] + slip + data[at + 1 :]):
        for found in read(text):
            assert found.redirect_uris
            assert all(redirects.problem(uri) is None for uri in found.redirect_uris)
            assert 0 < len(found.name) <= client.MAX_NAME
            assert not any(unicodedata.category(character)[0] == "C" for character in found.name)
            assert found.auth_method in ("none", "client_secret_post", "client_secret_basic")
