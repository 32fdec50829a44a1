"""A real OpenID Connect server of another maker, as tests/clients/oidc_server.mjs sets it up."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

from tests.clients.drivers import FOLDER, NODE

BACK = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Oidc:
    """Where it is, and the client that may ask it about tokens."""

    issuer: str
    introspection: str
    client_id: str
    client_secret: str

    async def token(self, resource: str, scope: str, person: str = "anna") -> str:
        """An access token of `person`, as a client gets it that registers, and sends its user to log in."""
        async with httpx2.AsyncClient(timeout=20, trust_env=False) as http:
            registered = await http.post(
                f"{self.issuer}/reg",
                json={
                    "redirect_uris": [BACK],
                    "token_endpoint_auth_method": "none",
                    "application_type": "native",
                },
            )
            client_id = registered.json()["client_id"]
            query = {
                "client_id": client_id, "response_type": "code", "redirect_uri": BACK, "scope": scope,
                "resource": resource, "code_challenge": CHALLENGE, "code_challenge_method": "S256",
                "login_hint": person,
            }  # fmt: skip
            answer = await self.follow(http, str(httpx2.URL(f"{self.issuer}/auth", params=query)))
            form = {
                "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": BACK,
                "client_id": client_id, "code_verifier": VERIFIER, "resource": resource,
            }  # fmt: skip
            found = (await http.post(f"{self.issuer}/token", data=form)).json()
            assert "access_token" in found, found
            return str(found["access_token"])

    async def follow(self, http: httpx2.AsyncClient, url: str) -> dict[str, str]:
        """What a browser brings back to the client from `url`: everybody is let in."""
        for _ in range(10):
            reply = await http.get(url)
            assert reply.status_code in (302, 303), reply.text
            url = urljoin(url, reply.headers["location"])
            if not url.startswith(self.issuer):
                return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        raise AssertionError("the redirects never end")


@contextmanager
def serving(*, opaque: bool = False, scopes: str = "mcp") -> Iterator[Oidc]:
    """It runs until the block ends. `scopes` of every resource, separated by spaces."""
    env = {**os.environ, "FORMAT": "opaque" if opaque else "jwt", "SCOPES": scopes, "NODE_ENV": "production"}
    process = subprocess.Popen(
        [NODE, str(FOLDER / "oidc_server.mjs")],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield Oidc(**json.loads(line))
                break
        else:
            raise AssertionError("the OpenID Connect server did not start: is tests/clients installed?")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
