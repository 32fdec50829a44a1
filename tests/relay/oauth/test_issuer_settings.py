"""The tables [[issuers]]: what is accepted, what is refused, in which words, and what comes of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from penstock_relay.oauth.issuer import ANY, Issuer, Opens
from penstock_relay.oauth.issuer_settings import Issuers, IssuerSettings

GUID = "11111111-2222-3333-4444-555555555555"
TABLES: TypeAdapter[tuple[IssuerSettings, ...]] = TypeAdapter(Issuers)


def read(text: str) -> tuple[IssuerSettings, ...]:
    return TABLES.validate_python(tomllib.loads(text)["issuers"])


def one(text: str) -> Issuer:
    (table,) = read(f"[[issuers]]\n{text}")
    return table.issuer()


def refused(text: str) -> str:
    with pytest.raises(ValidationError) as caught:
        read(text)
    return "; ".join(problem["msg"] for problem in caught.value.errors())


def test_the_least_that_is_needed() -> None:
    found = one('url = "https://login.example.com"')
    assert found == Issuer("https://login.example.com", (Opens("mcp", ANY, ANY),))
    assert (found.algorithms, found.audience, found.max_life_s) == (("RS256",), (), 86_400)
    assert not found.match_email


def test_all_of_it() -> None:
    found = one(
        """
        url = "https://acme.eu.auth0.com/"
        preset = "auth0"
        audience = "https://mcp.example.com"
        algorithms = ["PS256", "ES256"]
        scopes = { "mcp:files" = "berlin/files", "mcp:{site}:{server}" = "*/*", ops = ["berlin/*", "*/crm"] }
        scope_prefix = "x/"
        match_email = true
        max_token_hours = 48
        [issuers.claims]
        user = "https://acme.com/id"
        groups = "https://acme.com/groups"
        email_verified = "https://acme.com/verified"
        """
    )
    assert found.opens == (
        Opens("mcp:files", "berlin", "files"),
        Opens("mcp:{site}:{server}", ANY, ANY),
        Opens("ops", "berlin", ANY),
        Opens("ops", ANY, "crm"),
    )
    assert (found.audience, found.algorithms) == (("https://mcp.example.com",), ("PS256", "ES256"))
    assert (found.scope_prefix, found.match_email, found.max_life_s) == ("x/", True, 172_800)
    assert (found.names.user, found.names.groups) == (("https://acme.com/id",), ("https://acme.com/groups",))
    assert (found.names.verified, found.names.scopes) == (
        ("https://acme.com/verified",),
        ("scope", "permissions"),
    )


@pytest.mark.parametrize(
    ("audience", "prefix"),
    [
        (f'["api://{GUID}", "{GUID}"]', f"api://{GUID}/"),
        (f'"{GUID}"', f"api://{GUID}/"),
        (f'["{GUID}", "https://acme.com/mcp"]', "https://acme.com/mcp/"),
    ],
)
def test_entra_scopes_are_asked_for_by_the_name_of_the_application(audience: str, prefix: str) -> None:
    found = one(
        f'url = "https://login.microsoftonline.com/{GUID}/v2.0"\npreset = "entra"\naudience = {audience}'
    )
    assert found.scope_prefix == prefix
    assert found.asked("a", "b") == (prefix + "mcp",)
    assert found.aliases == (f"https://sts.windows.net/{GUID}/",)
    assert found.must == {"tid": GUID}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "Field required"),
        ('url = "http://login.example.com"', "https"),
        ('url = "https://user:secret@login.example.com"', "without user"),
        ('url = "https://login.example.com"\ncolour = "red"', "Extra inputs"),
        ('url = "https://login.example.com"\npreset = "google"', "'entra'"),
        ('url = "https://login.example.com"\naudience = ""', "never empty"),
        ('url = "https://login.example.com"\naudience = ["a", ""]', "never empty"),
        ('url = "https://login.example.com"\nalgorithms = "HS256"', "some of RS256"),
        ('url = "https://login.example.com"\nalgorithms = "none"', "some of RS256"),
        ('url = "https://login.example.com"\nalgorithms = []', "some of RS256"),
        ('url = "https://login.example.com"\nscopes = {}', "open nothing"),
        ('url = "https://login.example.com"\nscopes = { mcp = "berlin" }', "site/server"),
        ('url = "https://login.example.com"\nscopes = { mcp = "berlin/files/x" }', "site/server"),
        ('url = "https://login.example.com"\nscopes = { mcp = "oauth/files" }', "site/server"),
        ('url = "https://login.example.com"\nscopes = { "a b" = "berlin/files" }', "no spaces"),
        ('url = "https://login.example.com"\nscopes = { "a\\"b" = "berlin/files" }', "no spaces"),
        ('url = "https://login.example.com"\nmax_token_hours = 0', "greater than"),
        ('url = "https://login.microsoftonline.com/common/v2.0"\npreset = "entra"', "every company"),
        (f'url = "https://login.microsoftonline.com/{GUID}/v2.0"\npreset = "entra"', "set audience"),
        ('url = "https://login.example.com"\n[issuers.claims]\nrole = "x"', "Extra inputs"),
        (
            'url = "https://login.example.com"\n[issuers.introspection]\nurl = "http://a.example"\n'
            'client_id = "r"\nclient_secret_file = "/s"',
            "https",
        ),
        (
            'url = "https://login.example.com"\n[issuers.introspection]\nurl = "https://a.example"\n'
            'client_id = "r"\nclient_secret = "inline"',
            "Extra inputs",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, word: str) -> None:
    said = refused(f"[[issuers]]\n{text}")
    assert word in said
    assert "secret" not in said


def test_two_tables_of_one_issuer() -> None:
    table = '[[issuers]]\nurl = "https://login.example.com"\n'
    assert "twice" in refused(table * 2)


def test_opaque_tokens_belong_to_one_issuer() -> None:
    def table(host: str) -> str:
        return (
            f'[[issuers]]\nurl = "https://{host}.example"\n[issuers.introspection]\n'
            f'url = "https://{host}.example/i"\nclient_id = "r"\nclient_secret_file = "/s"\n'
        )

    assert len(read(table("a"))) == 1
    assert "one issuer" in refused(table("a") + table("b"))


def test_the_secret_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"

    def settings() -> Any:
        (table,) = read(
            '[[issuers]]\nurl = "https://a.example"\n[issuers.introspection]\nurl = "https://a.example/i"\n'
            f'client_id = "relay"\nclient_secret_file = "{file}"\n'
        )
        assert table.introspection is not None
        return table.introspection

    with pytest.raises(FileNotFoundError):
        settings().endpoint()
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        settings().endpoint()
    file.write_text("s3cret\n")
    found = settings().endpoint()
    assert (found.url, found.client_id, found.secret) == ("https://a.example/i", "relay", "s3cret")
    assert "s3cret" not in repr(found)
