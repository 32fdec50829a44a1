"""The relay as a client of the provider: answers that make no sense, and what is logged of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.jwks import FetchError
from penstock_relay.oauth.upstream import attempt
from penstock_relay.oauth.upstream.party import NotVouched, Party
from penstock_relay.oauth.upstream.provider import ProviderUnavailable
from tests.relay.oauth.upstream.company import BACK, ISSUER, Company, Site, site


async def redeem(here: Site, answer: tuple[int, bytes] | FetchError) -> Any:
    """What the relay makes of this answer of the token endpoint."""
    usual = here.company.send

    async def send(method: str, url: str, **more: Any) -> tuple[int, bytes]:
        if not url.endswith("/token"):
            return await usual(method, url, **more)
        if isinstance(answer, FetchError):
            raise answer
        return answer

    here.company.send = send  # type: ignore[method-assign]
    party = _party(here)
    return await party.redeem("code", attempt.begin("login", "/", here.now), BACK)


def _party(here: Site) -> Party:
    logout = getattr(here.server._routes["POST", "/oauth/upstream/logout"], "__self__", None)
    party = logout._party  # type: ignore[union-attr]
    assert isinstance(party, Party)
    return party


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, b'{"error": "invalid_grant"}'), "invalid_grant"),
        ((200, b"{}"), "no_id_token"),
        ((200, b'{"id_token": ""}'), "no_id_token"),
        ((200, b'{"id_token": 7}'), "no_id_token"),
        ((200, b'{"id_token": "a.b"}'), "id_token_malformed"),
        ((200, b'{"id_token": "%s"}' % (b"x" * 9000)), "id_token_too_long"),
    ],
)
async def test_an_answer_that_vouches_for_nobody(
    tmp_path: Path, answer: tuple[int, bytes], reason: str
) -> None:
    async with site(tmp_path) as here:
        with pytest.raises(NotVouched) as caught:
            await redeem(here, answer)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((401, b'{"error": "invalid_client"}'), "401 (invalid_client)"),
        ((400, b'{"error": "<script>", "error_description": "secret"}'), "400"),
        ((500, b"oops"), "500"),
        ((200, b"oops"), "200"),
        ((200, b'{"id_token": "a", "id_token": "b"}'), "200"),
        (FetchError("it did not answer in time"), "did not answer"),
    ],
)
async def test_an_answer_that_makes_no_sense(
    tmp_path: Path, answer: tuple[int, bytes] | FetchError, text: str
) -> None:
    async with site(tmp_path) as here:
        with pytest.raises(ProviderUnavailable) as caught:
            await redeem(here, answer)
        assert text in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "<" not in str(caught.value)


async def test_the_way_there_keeps_what_the_endpoint_had(tmp_path: Path) -> None:
    company = Company(metadata={"authorization_endpoint": f"{ISSUER}/authorize?tenant=1"})
    async with site(tmp_path, company) as here:
        url = await _party(here).login_url(attempt.begin("login", "/", here.now), BACK)
        assert url.startswith(f"{ISSUER}/authorize?tenant=1&response_type=code&")
