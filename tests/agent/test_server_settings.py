from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent import config
from penstock_agent.children.confinement.limits import Limits
from penstock_agent.children.confinement.plan import Level
from penstock_agent.children.units.reach import Reach
from penstock_agent.config import Options
from penstock_agent.server_settings import ServerSettings
from penstock_agent.settings_file import ConfigError

URL = 'url = "http://crm.internal:9000/mcp"\n'
PROCESS = 'command = ["p"]\nisolation = "process"\n'
IMAGE = "docker.io/mcp/fetch@sha256:" + "0f" * 32
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


def test_an_image_is_run_in_a_container_and_given_the_command() -> None:
    text = f'image = "{IMAGE}"\ncommand = ["--x"]\nread = ["/srv"]\nmounts = {{ "/srv" = "/data" }}\n'
    server = parse(text)
    assert server.level is Level.CONTAINER
    assert server.words == (IMAGE, "--x")
    assert server.mounts == {Path("/srv"): Path("/data")}
    assert parse(f'image = "{IMAGE}"\nisolation = "container"\n').command == ()


def test_a_server_in_a_unit_may_be_held_to_addresses() -> None:
    server = parse('command = ["p"]\nisolation = "unit"\nnetwork = ["10.0.0.5:5432"]\n')
    assert (server.online, server.reach) == (True, Reach(("10.0.0.5",), (5432,)))
    assert parse('command = ["p"]\nnetwork = "host"\n').reach is None


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
        (URL + 'read = ["/srv"]\n', "has read, which does nothing"),
        (URL + "limits = { files = 64 }\n", "has limits, which does nothing"),
        (PROCESS + 'read = ["/srv"]\n', 'has read, which isolation = "process" does not enforce'),
        (PROCESS + "write = []\n", 'has write, which isolation = "process" does not enforce'),
        ('command = ["p"]\nread = ["srv"]\n', "servers.crm.read.0: must be an absolute path"),
        ('command = ["p"]\nread = ["/srv/../etc"]\n', "servers.crm.read.0: must be an absolute path without"),
        ('command = ["p"]\nread = "/srv"\n', "servers.crm.read: should be a list"),
        ('command = ["p"]\nnetwork = "lan"\n', 'servers.crm.network: should be "none" or "host"'),
        ('command = ["p"]\nnetwork = ["crm:443"]\n', "Names cannot be enforced"),
        ('command = ["p"]\nisolation = "jail"\n', 'isolation: should be "process" or "landlock" or "unit"'),
        ('command = ["p"]\nisolation = "container"\n', "and no image; write image = "),
        ('command = ["p"]\nnetwork = ["10.0.0.5:1"]\n', 'only isolation = "unit" enforces'),
        ('command = ["p"]\nmounts = { "/a" = "/b" }\n', "has mounts, which does nothing without an image"),
        (f'image = "{IMAGE}"\nurl = "http://crm.internal:9000/mcp"\n', "has an image and a url"),
        (f'image = "{IMAGE}"\nisolation = "landlock"\n', 'and isolation = "landlock"; remove that'),
        (f'image = "{IMAGE}"\nmounts = {{ "/a" = "/b" }}\n', "mounts for /a, which neither read nor write"),
        (f'image = "{IMAGE}"\nread = ["/a"]\nmounts = {{ "/a" = "/tmp" }}\n', "is taken in a container"),
        (
            f'image = "{IMAGE}"\nread = ["/a", "/b"]\nmounts = {{ "/a" = "/b" }}\n',
            "two places that lie at the",
        ),
        (f'image = "{IMAGE}"\nread = ["/a,b"]\n', "cannot be shown in a container"),
        (f'image = "{IMAGE}"\nheaders = {{ A = "b" }}\n', "for a server with an image"),
        (
            'image = "docker.io/mcp/fetch:latest"\n',
            "podman pull -q docker.io/mcp/fetch:latest && podman image",
        ),
        ('command = ["p"]\nlimits = { memory = "2 gigs" }\n', "servers.crm.limits.memory: is no size"),
        ('command = ["p"]\nlimits = { memory = 5 }\n', "greater than or equal to 1048576"),
        ('command = ["p"]\nlimits = { processes = 0 }\n', "servers.crm.limits.processes: should be greater"),
        ('command = ["p"]\nlimits = { cpu_seconds = true }\n', "servers.crm.limits.cpu_seconds: "),
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


def test_limits_have_defaults_and_are_read_as_sizes_and_numbers() -> None:
    command = 'command = ["prog"]\n'
    assert parse(command).limits.limits() == Limits()
    given = "[servers.crm.limits]\nmemory = '512MiB'\nprocesses = 64\nfile_size = 1048576\ncpu_seconds = 9\n"
    found = parse(command + given).limits.limits()
    assert found == Limits(memory=512 << 20, processes=64, file_size=1 << 20, cpu_seconds=9)


def test_the_files_that_hold_secrets_are_known() -> None:
    server = parse('command = ["p"]\nenv = { A = "file:/run/a", B = "file:///b", C = "cred:c", D = "d" }\n')
    assert server.secret_files == (Path("/run/a"),)
    assert parse(URL + 'headers = { X-Key = "Bearer file:/run/k" }\n').secret_files == (Path("/run/k"),)
