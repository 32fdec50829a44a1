import pytest

from penstock_agent.dialer import proxy

RELAY = "wss://relay.example:443"


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_setting_wins_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://from-env:1")
    assert proxy.proxy_for(RELAY, "http://from-file:2") == "http://from-file:2"


def test_none_means_a_direct_connection_in_spite_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://from-env:1")
    assert proxy.proxy_for(RELAY, "none") is None


def test_environment_is_used_without_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy.proxy_for(RELAY, None) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://u:p%40ss@proxy:3128")
    assert proxy.proxy_for(RELAY, None) == "http://u:p%40ss@proxy:3128"


def test_address_without_scheme_is_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy:3128")
    assert proxy.proxy_for(RELAY, None) == "http://proxy:3128"


@pytest.mark.parametrize("no_proxy", ["relay.example", ".example", "*", "relay.example:443"])
def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy.proxy_for(RELAY, None) is None
    assert proxy.proxy_for("wss://other.test:443", None) == (None if no_proxy == "*" else "http://proxy:3128")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("socks5://proxy:1080", "socks5:// proxies are not supported"),
        ("https://proxy:443", "https:// proxies are not supported"),
        ("http://", "not a proxy address"),
        ("http://proxy:99999", "not an address"),
        ("http://proxy/path", "not a proxy address"),
        ("http://user@proxy:1", "user name without a password"),
        ("http://proxy:0", "port 0"),
    ],
)
def test_unusable_address_is_refused_in_words(address: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        proxy.check(address)


def test_bad_https_proxy_is_named_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:hunter2@proxy:1080")
    with pytest.raises(ValueError, match="HTTPS_PROXY") as caught:
        proxy.proxy_for(RELAY, None)
    assert "hunter2" not in str(caught.value)


def test_password_is_redacted() -> None:
    assert proxy.redact("http://me:hunter2@proxy:3128") == "http://me:***@proxy:3128"
    assert proxy.redact("http://proxy:3128") == "http://proxy:3128"
