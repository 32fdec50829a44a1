"""ChatGPT and Claude as clients of a relay, written from what their makers document and operators measured.

Each does in its own order what the product does: which metadata it reads, how it becomes a client, what it
asks for, how long it waits, when it refreshes. What a product would refuse is raised as `Refused`, in words.
A person in between (tests/harness/person.py) opens the URL that `connect` returns, and brings another back.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from tests.harness.internet import CALLBACK_ID, CHATGPT_CALLBACK, CHATGPT_OWN_CALLBACK, CLAUDE_CALLBACK

LEGACY: Final = "2025-11-25"
MODERN: Final = "2026-07-28"


class Refused(Exception):
    """The product would not connect, or say that the connection is gone; the text says why."""


@dataclass(frozen=True)
class Entered:
    """A client that a person typed into the product: its id, and the secret if there is one."""

    client_id: str
    secret: str | None = None


@dataclass
class Step:
    """One request of an assistant, for tests to look at."""

    what: str
    url: str
    took_s: float
    status: int
    form: dict[str, str] = field(default_factory=dict)


@dataclass
class _Attempt:
    """An authorization request that is under way."""

    state: str
    verifier: str
    redirect_uri: str


class Assistant:
    """What both products share: RFC 9728, 8414, 7591, 7636, 8707 and 9207, and JSON-RPC over POST.

    `clock` is the product's own; moving it makes it refresh.
    """

    user_agent: ClassVar[str]
    client_info: ClassVar[dict[str, str]]
    extra_headers: ClassVar[dict[str, str]] = {}

    def __init__(
        self, url: str, transport: httpx2.AsyncBaseTransport, *, entered: Entered | None = None
    ) -> None:
        """`url` is what the person pasted."""
        self.url = url
        self.entered = entered
        self.steps: list[Step] = []
        self.now = time.time()
        self.resource = ""
        self.metadata: dict[str, Any] = {}
        self.client_id = ""
        self.client_secret: str | None = None
        self.auth_method = "none"
        self.tokens: dict[str, Any] = {}
        self._ends = 0.0
        self._attempt: _Attempt | None = None
        self._session: dict[str, str] = {}
        self._modern = False
        self._ids = 0
        # Redirects are not followed: Authorization would be dropped, or sent to a stranger.
        self._http = httpx2.AsyncClient(
            transport=transport,
            headers={"User-Agent": self.user_agent, **self.extra_headers},
            follow_redirects=False,
            trust_env=False,
            timeout=30,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def session(self) -> str:
        """The id of its session; empty where there is none."""
        return self._session.get("Mcp-Session-Id", "")

    # -- what the products do differently

    async def _register(self) -> None:
        """Becomes a client: sets client_id, client_secret and auth_method. Raises Refused."""
        raise NotImplementedError

    def _scope(self, challenge: str | None, protected: dict[str, Any]) -> list[str]:
        """What the authorization request asks for."""
        raise NotImplementedError

    def _probe(self) -> dict[str, Any]:
        """The first message that is sent to the URL, without a token."""
        raise NotImplementedError

    @property
    def redirect_uri(self) -> str:
        raise NotImplementedError

    async def begin(self) -> dict[str, Any]:
        """What it sends first once it is connected: the answer to its handshake, or to discovery."""
        raise NotImplementedError

    # -- the flow

    async def connect(self) -> str:
        """From the URL to the one that the person's browser opens. Raises Refused."""
        answer = await self._send("probe", "POST", self.url, json=self._probe(), headers=self._mcp_headers())
        challenge = answer.headers.get("www-authenticate", "")
        said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if (
            answer.status_code != 401
            or not challenge.startswith("Bearer ")
            or "resource_metadata" not in said
        ):
            raise Refused(f"{answer.status_code} is no challenge that says where to log in")
        protected = await self._json("protected resource", said["resource_metadata"])
        for name in ("resource", "authorization_servers", "scopes_supported"):
            if not protected.get(name):
                raise Refused(f"the metadata of the resource has no {name}")
        self._judge_resource(protected["resource"])
        self.resource = protected["resource"]
        self.metadata = await self._server(protected["authorization_servers"][0])
        if "S256" not in self.metadata.get("code_challenge_methods_supported", []):
            raise Refused("the authorization server does not say that it takes S256")
        if self.entered is not None:
            self.client_id, self.client_secret = self.entered.client_id, self.entered.secret
            self.auth_method = self._method_of_a_typed_client()
        elif not self.client_id:
            await self._register()
        return self._authorization(self._scope(said.get("scope"), protected))

    async def come_back(self, callback: str) -> None:
        """The person's browser arrived at `callback`: redeems the code. Raises Refused."""
        await self._token("redeem", self.redemption(callback), 10)

    def redemption(self, callback: str) -> dict[str, str]:
        """The form that redeems the code in `callback`, which is believed but once. Raises Refused."""
        attempt = self._attempt
        assert attempt is not None, "nobody was sent away"
        target, _, query = callback.partition("?")
        if target != attempt.redirect_uri:
            raise Refused(f"the answer came to {target}, not to {attempt.redirect_uri}")
        pairs = parse_qsl(query, keep_blank_values=True)
        said = dict(pairs)
        if len(said) != len(pairs) or said.get("state") != attempt.state:
            raise Refused("the state is another, or something stands twice")
        if self.metadata.get("authorization_response_iss_parameter_supported") and (
            said.get("iss") != self.metadata["issuer"]
        ):
            raise Refused("the answer has no iss, or that of another")
        if "error" in said:
            raise Refused(said["error"])
        self._attempt = None
        return {
            "grant_type": "authorization_code",
            "code": said["code"],
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
            "resource": self.resource,
        }

    async def refresh(self) -> None:
        """Raises Refused when the connection is gone: the person has to connect again."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self.tokens["refresh_token"],
            "resource": self.resource,
        }
        await self._token("refresh", form, 30)

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """One JSON-RPC request as the product sends it. Refreshes before the token's end and on 401."""
        if self.now > self._ends - 300 and "refresh_token" in self.tokens:
            await self.refresh()
        answer = await self._rpc(method, params)
        if answer.status_code == 401:
            await self.refresh()
            answer = await self._rpc(method, params)
        # Since 2026-07-28 some errors of JSON-RPC have a status of their own.
        known = answer.headers.get("content-type", "").startswith("application/json")
        if answer.status_code != 200 and not (self._modern and answer.status_code in (400, 404) and known):
            raise Refused(f"{method}: {answer.status_code}")
        return _message(answer)

    async def handshake(self) -> dict[str, Any]:
        """What it says to a server of the older revisions."""
        self._session = {}
        self._modern = False
        found = await self.call("initialize", **self._initialize())
        await self._rpc("notifications/initialized", {})
        return found

    async def discovery(self) -> dict[str, Any] | None:
        """The newest revision first. None where the server refuses that, and is of the older ones."""
        self._session = {}
        self._modern = True
        answer = await self._rpc("server/discover", {})
        if answer.status_code == 200 and "result" in (found := _message(answer)):
            return found
        if answer.status_code not in (200, 400, 404):
            raise Refused(f"server/discover: {answer.status_code}")
        return None

    # -- parts

    def _judge_resource(self, resource: str) -> None:
        """Raises Refused for metadata of another resource than the one that was asked for."""
        if resource != self.url:
            raise Refused(f"the metadata is of {resource}, and the person typed {self.url}")

    async def _server(self, issuer: str) -> dict[str, Any]:
        """RFC 8414, then OpenID Connect discovery, as the MCP specification orders them."""
        parts = urlsplit(issuer)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        for place in (
            f"{origin}/.well-known/oauth-authorization-server{path}",
            f"{origin}/.well-known/openid-configuration{path}",
            f"{origin}{path}/.well-known/openid-configuration",
        ):
            answer = await self._send("authorization server", "GET", place)
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                if found.get("issuer") != issuer:
                    raise Refused("the issuer of the metadata is another")
                return found
        raise Refused("the authorization server has no metadata")

    async def _dynamic(self, **values: object) -> None:
        """RFC 7591, anew for every connection."""
        endpoint = self.metadata.get("registration_endpoint")
        if endpoint is None:
            raise Refused("the authorization server registers nobody")
        asked = {
            "client_name": self.client_info["name"],
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            **values,
        }
        answer = await self._send("register", "POST", endpoint, json=asked)
        if answer.status_code != 201:
            raise Refused(f"registration: {answer.status_code} {answer.text}")
        found = answer.json()
        if found["redirect_uris"] != [self.redirect_uri]:
            raise Refused("it was registered with other redirect URIs")
        self.client_id, self.client_secret = found["client_id"], found.get("client_secret")
        self.auth_method = found.get("token_endpoint_auth_method", "client_secret_basic")

    def _method_of_a_typed_client(self) -> str:
        if self.client_secret is None:
            return "none"
        offered = self.metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        for method in ("client_secret_post", "client_secret_basic"):
            if method in offered:
                return method
        raise Refused("the authorization server takes no client secret")

    def _authorization(self, scope: list[str]) -> str:
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        self._attempt = _Attempt(secrets.token_urlsafe(24), verifier, self.redirect_uri)
        values = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self._attempt.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "resource": self.resource,
            "scope": " ".join(scope),
        }
        self.steps.append(Step("authorize", self.metadata["authorization_endpoint"], 0, 0, values))
        return f"{self.metadata['authorization_endpoint']}?{urlencode(values)}"

    async def _token(self, what: str, form: dict[str, str], within_s: float) -> None:
        headers = {"Accept": "application/json"}
        match self.auth_method:
            case "client_secret_basic":
                pair = f"{self.client_id}:{self.client_secret}"
                headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            case "client_secret_post":
                form = {**form, "client_id": self.client_id, "client_secret": self.client_secret or ""}
            case "none":
                form = {**form, "client_id": self.client_id}
            case other:
                raise Refused(f"{other} is not a way in which this product proves itself")
        endpoint = self.metadata["token_endpoint"]
        answer = await self._send(what, "POST", endpoint, within_s, data=form, headers=headers)
        self.steps[-1].form = form
        if answer.status_code != 200:
            raise Refused(answer.json()["error"])
        found = answer.json()
        if found["token_type"].lower() != "bearer" or answer.headers["cache-control"] != "no-store":
            raise Refused("this is no token that may be used")
        self.tokens = {**self.tokens, **found}
        self._ends = self.now + found["expires_in"]

    async def _rpc(self, method: str, params: dict[str, object]) -> httpx2.Response:
        body: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
        if not method.startswith("notifications/"):
            self._ids += 1
            body["id"] = self._ids
        headers = {**self._mcp_headers(), "Authorization": f"Bearer {self.tokens['access_token']}"}
        if self._modern:
            headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
            if "name" in params:
                headers["Mcp-Name"] = str(params["name"])
            body["params"] = {**params, **_discover(self.client_info)["params"]}
        answer = await self._send(method, "POST", self.url, json=body, headers={**headers, **self._session})
        session = answer.headers.get("mcp-session-id")
        if session is not None:
            self._session = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}
        return answer

    def _mcp_headers(self) -> dict[str, str]:
        return {"Accept": "application/json, text/event-stream"}

    def _initialize(self) -> dict[str, Any]:
        return {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": dict(self.client_info),
        }

    async def _json(self, what: str, url: str) -> dict[str, Any]:
        answer = await self._send(what, "GET", url)
        if answer.status_code != 200 or not answer.headers["content-type"].startswith("application/json"):
            raise Refused(f"{what}: {answer.status_code} {answer.headers.get('content-type')}")
        found: dict[str, Any] = answer.json()
        return found

    async def _send(
        self, what: str, method: str, url: str, within_s: float = 10, **given: Any
    ) -> httpx2.Response:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                answer = await self._http.request(method, url, **given)
        except TimeoutError:
            raise Refused(f"{what}: no answer within {within_s:.0f} s") from None
        self.steps.append(Step(what, url, time.monotonic() - begun, answer.status_code))
        if answer.is_redirect:
            raise Refused(f"{what}: a redirect is not followed")
        return answer


class ChatGPT(Assistant):
    """Apps of chatgpt.com. Metadata document first; one registration per connection where there are none.

    `knows_iss` False: the form of the products' redirect URI for servers that do not prove their answers.
    """

    user_agent = "openai-mcp/1.0.0 (ChatGPT)"
    client_info: ClassVar[dict[str, str]] = {"name": "ChatGPT", "version": "1.0.0"}
    extra_headers: ClassVar[dict[str, str]] = {"X-Openai-Session": "v1/se", "X-Openai-Subject": "v1/su"}

    def __init__(
        self,
        url: str,
        transport: httpx2.AsyncBaseTransport,
        *,
        entered: Entered | None = None,
        documents: bool = True,
        knows_iss: bool = True,
    ) -> None:
        super().__init__(url, transport, entered=entered)
        self._documents = documents
        self._knows_iss = knows_iss

    @property
    def _iss(self) -> bool:
        proven = self.metadata.get("authorization_response_iss_parameter_supported", False)
        return self._knows_iss and bool(proven)

    @property
    def redirect_uri(self) -> str:
        return CHATGPT_CALLBACK if self._iss else CHATGPT_OWN_CALLBACK.format(callback_id=CALLBACK_ID)

    async def _register(self) -> None:
        if self._documents and self.metadata.get("client_id_metadata_document_supported"):
            # private_key_jwt, with keys at https://chatgpt.com/oauth/jwks.json, is the other way that its
            # document may name. Its place is here: `auth_method` and an assertion in `_token`.
            path = "client.json" if self._iss else f"{CALLBACK_ID}/client.json"
            self.client_id, self.auth_method = f"https://chatgpt.com/oauth/{path}", "none"
            return
        await self._dynamic(token_endpoint_auth_method="none")

    def _scope(self, challenge: str | None, protected: dict[str, Any]) -> list[str]:
        scope = challenge.split() if challenge else list(protected["scopes_supported"])
        openid = ("openid", "email", "profile", "offline_access")
        return scope + [name for name in openid if name in self.metadata.get("scopes_supported", [])]

    def _probe(self) -> dict[str, Any]:
        return _discover(self.client_info)

    async def begin(self) -> dict[str, Any]:
        """The newest revision first; the handshake where the server refuses that with 400."""
        return await self.discovery() or await self.handshake()

    async def idle_stream(self) -> int:
        """After long idleness it opens a stream with the token it has, good or not: the status."""
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}", "Accept": "text/event-stream"}
        return (await self._send("stream", "GET", self.url, headers=headers)).status_code


class Claude(Assistant):
    """claude.ai, Desktop, mobile. Documents only where the server also takes clients without a secret."""

    user_agent = "Claude-User"
    client_info: ClassVar[dict[str, str]] = {"name": "claude-ai", "version": "0.1.0"}
    document: ClassVar[str] = "https://claude.ai/oauth/mcp-oauth-client-metadata"

    def __init__(
        self,
        url: str,
        transport: httpx2.AsyncBaseTransport,
        *,
        entered: Entered | None = None,
        documents: bool = True,
    ) -> None:
        super().__init__(url, transport, entered=entered)
        self._documents = documents

    @property
    def redirect_uri(self) -> str:
        return CLAUDE_CALLBACK

    async def _register(self) -> None:
        methods = self.metadata.get("token_endpoint_auth_methods_supported", [])
        supported = self.metadata.get("client_id_metadata_document_supported") is True
        if self._documents and supported and "none" in methods:
            self.client_id, self.auth_method = self.document, "none"
            return
        await self._dynamic(token_endpoint_auth_method="client_secret_post")

    def _scope(self, challenge: str | None, protected: dict[str, Any]) -> list[str]:
        scope = challenge.split() if challenge else list(protected["scopes_supported"])
        offline = "offline_access" in self.metadata.get("scopes_supported", [])
        return [*scope, "offline_access"] if offline and "offline_access" not in scope else scope

    def _probe(self) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": self._initialize()}

    async def begin(self) -> dict[str, Any]:
        """The handshake."""
        return await self.handshake()

    def ignore_metadata(self) -> None:
        """The known bug: what the metadata says is ignored, and the MCP host itself is asked."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))
        for name, path in (("authorization", "authorize"), ("token", "token"), ("registration", "register")):
            self.metadata[f"{name}_endpoint"] = f"{origin}/{path}"

    async def connect_again(self) -> str:
        """As a new client, with the metadata it has."""
        await self._register()
        return self._authorization(["mcp"])


class ClaudeCode(Claude):
    """Claude Code: comes back to a port of this computer that it was given a moment ago."""

    user_agent = "claude-code/2.1.328 (sdk-cli)"
    client_info: ClassVar[dict[str, str]] = {"name": "claude-code", "version": "2.1.328"}
    document: ClassVar[str] = "https://claude.ai/oauth/claude-code-client-metadata"

    @property
    def redirect_uri(self) -> str:
        return "http://localhost:61234/callback"

    async def begin(self) -> dict[str, Any]:
        return await self.discovery() or await self.handshake()


def _discover(client_info: dict[str, str]) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": dict(client_info),
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"_meta": meta}
    return {"jsonrpc": "2.0", "id": "server-discover-probe-1", "method": "server/discover", "params": params}


def _message(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON-RPC answer, plain or the last event of a stream."""
    if answer.status_code == 202:
        return {}
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        found: dict[str, Any] = answer.json()
        return found
    data = [
        line.removeprefix("data:").strip() for line in answer.text.splitlines() if line.startswith("data:")
    ]
    messages = [json.loads(text) for text in data if text]
    last: dict[str, Any] = next(each for each in messages if "id" in each)
    return last
