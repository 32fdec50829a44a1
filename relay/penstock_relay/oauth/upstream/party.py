"""The relay as a client of the identity provider (a relying party)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus, urlencode

from penstock import jwt, log
from penstock.jwk import strict_object
from penstock.jwks import FetchError
from penstock.jwt import BadToken, Claims
from penstock_relay.oauth.trusted import Trusted
from penstock_relay.oauth.upstream import idtoken, person
from penstock_relay.oauth.upstream.attempt import Attempt
from penstock_relay.oauth.upstream.person import Person
from penstock_relay.oauth.upstream.provider import Metadata, Provider, ProviderUnavailable
from penstock_relay.oauth.upstream.settings import UpstreamSettings

MAX_TOKEN: Final = 16 * 1024
"""Characters of an access or refresh token of the provider."""
MAX_SID: Final = 255

_log = log.get(__name__)


class NotVouched(Exception):
    """The provider does not say that this is one of its users; `reason` is one word for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the provider said of a user just now."""

    person: Person
    sid: str | None
    """Its session with the user's browser."""
    refresh: str | None
    id_token: str
    """As it was signed; "" after a refresh that brought none."""


class Party:
    """One per replica. :meth:`run` must be running."""

    def __init__(
        self,
        settings: UpstreamSettings,
        secret: str | None,
        trusted: Trusted,
        *,
        clock: Callable[[], float],
        provider: Provider | None = None,
    ) -> None:
        self.settings: Final = settings
        self.provider: Final = provider or Provider(settings.issuer, trusted.get)
        self._secret = secret
        self._trusted = trusted
        self._clock = clock

    async def run(self) -> NoReturn:
        """Fetches keys as they are needed, for ever. A TaskGroup owns it."""
        try:
            await self.provider.run()
        finally:
            await self._trusted.close()

    async def login_url(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where the browser goes to log in. Raises ProviderUnavailable."""
        endpoint = (await self.provider.metadata()).authorization_endpoint
        fields = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.settings.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        if self.settings.prompt is not None:
            fields["prompt"] = self.settings.prompt
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(fields)}"

    async def redeem(self, code: str, attempt: Attempt, redirect_uri: str) -> Vouched:
        """Who logged in. Raises NotVouched, ProviderUnavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
        }
        metadata = await self.provider.metadata()
        answer = await self._tokens(metadata, form)
        id_token = _text(answer, "id_token")
        if id_token is None:
            raise NotVouched("no_id_token")
        claims = await self._claims(id_token, answer, attempt.nonce)
        return await self._vouched(metadata, answer, claims.subject, claims, id_token)

    async def refresh(self, refresh: str, subject: str) -> Vouched:
        """What is true of that user now. Raises NotVouched, ProviderUnavailable."""
        metadata = await self.provider.metadata()
        answer = await self._tokens(metadata, {"grant_type": "refresh_token", "refresh_token": refresh})
        id_token = _text(answer, "id_token")
        claims = None if id_token is None else await self._claims(id_token, answer, None)
        if claims is not None and claims.subject != subject:
            raise NotVouched("subject")
        if claims is None and metadata.userinfo_endpoint is None:
            raise NotVouched("nothing_said")
        return await self._vouched(metadata, answer, subject, claims, id_token or "")

    async def _claims(self, id_token: str, answer: Mapping[str, object], nonce: str | None) -> Claims:
        settings = self.settings
        try:
            about = jwt.unverified(id_token)
            keys = await self.provider.keys(about.kid)
            now = self._clock()
            claims = jwt.verify(
                id_token, keys, issuer=settings.issuer, audience=settings.client_id,
                algorithms=settings.algorithms, now=now,
            )  # fmt: skip
            idtoken.check(
                claims, about.algorithm, client_id=settings.client_id, now=now, nonce=nonce,
                access_token=_text(answer, "access_token") or "",
            )  # fmt: skip
        except BadToken as error:
            raise NotVouched(f"id_token_{error.reason}") from None
        return claims

    async def _vouched(
        self, metadata: Metadata, answer: dict[str, Any], subject: str, claims: Claims | None, id_token: str
    ) -> Vouched:
        said: dict[str, object] = {}
        access = _text(answer, "access_token")
        if metadata.userinfo_endpoint is not None and access is not None and not self._complete(claims):
            said = await self._userinfo(metadata.userinfo_endpoint, access, subject)
        if claims is not None:
            said.update(claims.extra)
        if person.left_groups_out(said, self.settings.names):
            _log.warning("identity_provider_left_groups_out", issuer=self.settings.issuer)
        sid = said.get("sid") if claims is not None else None
        return Vouched(
            person.read(self.settings.issuer, subject, said, self.settings.names),
            sid if isinstance(sid, str) and 0 < len(sid) <= MAX_SID else None,
            _text(answer, "refresh_token"),
            id_token,
        )

    def _complete(self, claims: Claims | None) -> bool:
        """Whether an ID token says all that there is to know: most keep it short, and tell when asked."""
        if claims is None:
            return False
        wanted = (self.settings.name_claim, self.settings.groups_claim, "email")
        return all(jwt.claim(claims.extra, name) is not None for name in wanted)

    async def _userinfo(self, url: str, access: str, subject: str) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {access}"}
        status, data = await self._send("GET", url, None, headers)
        if status in (401, 403):
            raise NotVouched("userinfo_refused")
        said = strict_object(data) if status == 200 else None
        if said is None:
            raise ProviderUnavailable(f"its userinfo endpoint answered {status}, or not in JSON")
        # Core 5.3.2: an answer about somebody else is none.
        if said.get("sub") != subject:
            raise NotVouched("userinfo_subject")
        return said

    async def _tokens(self, metadata: Metadata, form: dict[str, str]) -> dict[str, Any]:
        headers, client_id = {}, self.settings.client_id
        if self._secret is not None and metadata.basic:
            pair = f"{quote_plus(client_id)}:{quote_plus(self._secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form = {**form, "client_id": client_id}
            if self._secret is not None:
                form["client_secret"] = self._secret
        status, data = await self._send("POST", metadata.token_endpoint, form, headers)
        answer = strict_object(data)
        if status == 400 and answer is not None and answer.get("error") == "invalid_grant":
            raise NotVouched("invalid_grant")
        if status != 200 or answer is None:
            raise ProviderUnavailable(f"its token endpoint answered {status}{_error(answer)}")
        return answer

    async def _send(
        self, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        try:
            return await self._trusted.send(method, url, fields=form, headers=headers)
        except FetchError as error:
            raise ProviderUnavailable(str(error)) from None


def _text(answer: Mapping[str, object], name: str) -> str | None:
    value = answer.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TOKEN else None


_KNOWN: Final = ("invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type",
                 "invalid_scope")  # fmt: skip


def _error(answer: Mapping[str, object] | None) -> str:
    """The error of RFC 6749, 5.2, if it is one; other texts of the provider are not for the log."""
    code = None if answer is None else answer.get("error")
    return f" ({code})" if code in _KNOWN else ""
