import pytest

from penstock_agent.adding.causes import likely

NODE = ["/usr/bin/node", "srv.js"]


@pytest.mark.parametrize(
    ("said", "cause", "step"),
    [
        ("KeyError: 'GITHUB_TOKEN'", "wants the variable GITHUB_TOKEN", "GITHUB_TOKEN = "),
        ("Error: BRAVE_API_KEY environment variable is required", "the variable BRAVE_API_KEY", "env ="),
        ("Missing required environment variable: SLACK_BOT_TOKEN", "the variable SLACK_BOT_TOKEN", "env ="),
        ("API_TOKEN is not set", "the variable API_TOKEN", "env ="),
        ("ModuleNotFoundError: No module named 'mcp_tools'", "module mcp_tools is not found", "Install it"),
        ("Error: Cannot find module '/opt/x/index.js'", "no /opt/x/index.js", "Correct the path"),
        ("Error: Cannot find module 'express'", "module express is not found", "Install it"),
        ("Error: EACCES: permission denied, '/srv/share'", "not open /srv/share", 'read = ["/srv/share"]'),
        ("PermissionError: [Errno 13] Permission denied: '/srv/share/a'", "not open /srv/share/a", "read ="),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/x'", "There is no /srv/x", "Correct"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/there'", "not see", "/srv/there"),
        ("Error: spawn npx ENOENT", "looked for the program npx", "absolute path"),
        ("AttributeError: 'Server' object has no attribute 'list_resources'", "another version of", "older"),
        ("npm error code E404", "no such package", "Correct its name"),
        ("ssl.SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "certificate", "NODE_EXTRA_CA_CERTS"),
        ("FATAL ERROR: JavaScript heap out of memory", "memory", "limits"),
        ("npm WARN EBADENGINE Unsupported engine", "newer Node", "Install"),
    ],
)  # fmt: skip
def test_last_words_tell_the_cause_and_the_next_step(said: str, cause: str, step: str) -> None:
    found = likely("x", NODE, ["starting", said], offline=False, exists=lambda p: p == "/srv/there")
    assert found is not None
    assert cause in found.text
    assert step in found.step


@pytest.mark.parametrize(
    "said",
    [
        "getaddrinfo EAI_AGAIN api.example.com",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
        "urllib3.exceptions.MaxRetryError: Max retries exceeded",
        "Error: connect ENETUNREACH 1.1.1.1:443",
        "Error: listen EACCES: permission denied 0.0.0.0:8080",
    ],
)
def test_without_a_network_it_is_the_network(said: str) -> None:
    found = likely("x", NODE, [said], offline=True)
    assert found is not None
    assert 'network = "host"' in found.step


def test_with_a_network_it_may_be_the_network() -> None:
    found = likely("x", NODE, ["getaddrinfo EAI_AGAIN api.example.com"], offline=False)
    assert found is not None
    assert "firewall" in found.step


def test_a_socket_that_is_refused_is_the_network_too() -> None:
    said = [
        '  File "socket.py", line 963, in create_connection',
        "PermissionError: [Errno 13] Permission denied",
    ]
    found = likely("x", NODE, said, offline=True)
    assert found is not None
    assert 'network = "host"' in found.step


@pytest.mark.parametrize("command", [["npx", "-y", "pkg"], ["/usr/bin/uvx", "pkg"]])
def test_what_fetches_itself_is_to_be_prepared_whatever_it_said(command: list[str]) -> None:
    found = likely("x", command, [], offline=True)
    assert found is not None
    assert found.step.endswith("penstock-agent servers prepare x")


def test_words_that_say_nothing_tell_nothing() -> None:
    assert likely("x", NODE, ["ready", "bye"], offline=False) is None
    assert likely("x", NODE, [], offline=True) is None
