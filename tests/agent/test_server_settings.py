from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.config import ConfigError, Options
from penstock_agent.server_settings import ServerSettings

URL = 'url = "http://crm.internal:9000/mcp"\n'
HTTPS = 'url = "https://crm.internal/mcp"\n'


def parse(table: str) -> ServerSettings:
    text = f"[servers.crm]\n{table}"
    return config.parse(text, Path("/etc/agent.toml"), Options(), {}).server("crm")


def refusal(table: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(table)
    return str(refused.value)


def test_a_server_of_the_network_is_read_whole() -> None:
    server = parse(
        HTTPS + 'transport = "sse"\nca_file = "/etc/ca.pem"\nexpose = ["*"]\ntrust = "relay"\n'
        'headers = { Authorization = "Bearer file:/etc/penstock-agent/crm.token", X-Tenant = "plant" }\n'
    )
    assert server.url == "https://crm.internal/mcp"
    assert server.transport == "sse"
    assert server.ca_file == Path("/etc/ca.pem")
    assert server.headers == {
        "Authorization": "Bearer file:/etc/penstock-agent/crm.token",
        "X-Tenant": "plant",
    }


def test_the_rest_has_defaults() -> None:
    server = parse(URL)
    assert (server.command, server.transport, server.headers, server.ca_file) == ((), None, {}, None)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", 'write command = ["program"'),
        ('expose = ["*"]\n', "names no server"),
        ("command = []\n", "names no program"),
        ('command = ["p"]\n' + URL, "has a command and a url"),
        (URL + 'env = { A = "b" }\n', "has env, which does nothing for a server with a url"),
        (URL + 'network = "host"\n', "has network, which does nothing"),
        (URL + 'isolation = "process"\n', "has isolation, which does nothing"),
        ('command = ["p"]\nheaders = {}\n', "has headers, which does nothing for a server with a command"),
        ('command = ["p"]\ntransport = "http"\n', "has transport, which does nothing"),
        ('command = ["p"]\nca_file = "/ca.pem"\n', "has ca_file, which does nothing"),
        (URL + 'ca_file = "/ca.pem"\n', "has ca_file, which does nothing for a url with http"),
        (HTTPS + 'ca_file = "ca.pem"\n', "must be an absolute path"),
        ('url = "crm:9000"\n', "servers.crm.url: is not a URL; write http://"),
        ('url = "http://me:hunter2@crm/"\n', "give them in headers"),
        (URL + 'transport = "websocket"\n', "servers.crm.transport: "),
        (URL + 'headers = { Authorization = "Bearer hunter2" }\n', "'Authorization' looks like a secret"),
        (URL + 'headers = { Host = "x" }\n', "'Host' is a header that the agent sets itself"),
        (URL + 'headers = { X-A = "x", x-a = "y" }\n', "names a header twice"),
        (URL + "headers = { X-A = 7 }\n", "should be a string"),
        (URL + "verify = false\n", "servers.crm.verify: unknown key"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(table: str, words: str) -> None:
    text = refusal(table)
    assert words in text
    assert len(text.splitlines()) == 1
    assert "hunter2" not in text


def test_a_server_with_a_command_says_how_many_wait() -> None:
    command = 'command = ["prog"]\n'
    assert parse(command).warm is None
    assert parse(command + "warm = 0\n").warm == 0
    assert parse(command + "warm = 8\n").warm == 8
    for wrong in ("-1", "9", "true", '"1"', "1.5"):
        assert "servers.crm.warm" in refusal(f"{command}warm = {wrong}\n")
    assert "has warm, which does nothing for a server with a url" in refusal(URL + "warm = 1\n")
