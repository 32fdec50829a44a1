import socket
import ssl

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage, InvalidProxyStatus, InvalidStatus, NegotiationError
from websockets.http11 import Response

from penstock_agent.dialer.reach import ProxyRefused, explain, is_foreign_certificate

URL = "wss://relay.example:443"


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    error.verify_message = "some reason"
    return error


def response(status: int) -> Response:
    return Response(status, "x", Headers())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (verification(62), "not for the name relay.example"),
        (verification(64), "not for the name relay.example"),
        (verification(10), "Check the clock"),
        (verification(9), "Check the clock"),
        (verification(19), "TLS inspection"),
        (verification(20), "TLS inspection"),
        (ssl.SSLError(1, "x"), "No TLS 1.3"),
        (InvalidStatus(response(503)), "HTTP 503 instead of a websocket"),
        (InvalidMessage("x"), "closed the connection during the handshake"),
        (NegotiationError("x"), "does not speak this version"),
        (EOFError(), "closed the connection"),
        (TimeoutError(), "did not answer in time"),
        (socket.gaierror(-2, "x"), "The name relay.example cannot be resolved"),
        (ConnectionRefusedError(111, "Connection refused"), "No connection to relay.example:443"),
        (RuntimeError("secret"), "failed (RuntimeError)"),
    ],
)
def test_every_failure_has_words_with_the_place(error: Exception, words: str) -> None:
    text = explain(error, URL, None)
    assert words in text
    assert "relay.example" in text
    assert text.endswith(".")
    assert "secret" not in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InvalidProxyStatus(response(407)), "wants a user name and password (407)"),
        (ProxyRefused(407), "wants a user name and password (407)"),
        (ProxyRefused(403), "does not allow relay.example:443 (403)"),
        (ProxyRefused(502), "status 502"),
        (ProxyRefused(0), "does not answer like an HTTP proxy"),
        (socket.gaierror(-2, "x"), "The name proxy cannot be resolved"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "No connection to the proxy http://me:***@proxy:3128",
        ),
        (verification(19), "through the proxy http://me:***@proxy:3128"),
    ],
)
def test_with_a_proxy_its_part_is_named_and_its_password_is_not(error: Exception, words: str) -> None:
    text = explain(error, URL, "http://me:hunter2@proxy:3128")
    assert words in text
    assert "hunter2" not in text


def test_only_an_unknown_issuer_is_a_foreign_certificate() -> None:
    assert is_foreign_certificate(verification(19))
    assert not is_foreign_certificate(verification(62))
    assert not is_foreign_certificate(verification(10))
    assert not is_foreign_certificate(OSError())
