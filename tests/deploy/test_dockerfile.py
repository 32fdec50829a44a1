"""The relay's Dockerfile, as far as it can be checked without a base image: CI cannot pull one."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """(keyword, rest) of each instruction, with continuation lines joined and comments dropped."""
    lines = [
        line for line in (ROOT / "relay/Dockerfile").read_text().splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(word.upper(), rest) for word, rest in pairs]


def rest_of(keyword: str) -> list[str]:
    return [rest for word, rest in instructions() if word == keyword]


def copied_from_the_repository() -> list[str]:
    return [
        source for rest in rest_of("COPY") if not rest.startswith("--from=") for source in rest.split()[:-1]
    ]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps ``path`` out: the last line that matches it or a parent decides."""
    parts = path.split("/")
    prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        candidates = parts if pattern.startswith("**/") else prefixes
        if any(fnmatch.fnmatchcase(candidate, pattern.removeprefix("**/")) for candidate in candidates):
            out = not line.startswith("!")
    return out


def test_base_image_is_an_argument_of_every_stage() -> None:
    assert instructions()[0][0] == "ARG"
    assert instructions()[0][1].startswith("BASE=")
    assert len(rest_of("FROM")) == 2
    assert all(rest.split()[0] == "${BASE}" for rest in rest_of("FROM"))


@pytest.mark.parametrize("source", copied_from_the_repository())
def test_what_is_copied_exists_and_is_let_into_the_build(source: str) -> None:
    path = ROOT / source
    assert path.exists()
    assert not ignored(source.removeprefix("./"))


def test_build_gets_every_file_that_the_wheel_is_made_of() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    packages = ast.literal_eval(re.findall(r"^packages = (\[.*/.*\])$", project, re.MULTILINE)[0])
    copied = copied_from_the_repository()
    for package in packages:
        assert any(package == source or package.startswith(f"{source}/") for source in copied), package


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "tests/conftest.py",
        "helm/penstock-relay/values.yaml",
        "ca.key",
        "relay.db",
        "relay/Dockerfile",
        "core/penstock/__pycache__/names.cpython-311.pyc",
    ],
)
def test_everything_else_stays_out_of_the_build(path: str) -> None:
    assert ignored(path)


def test_dependencies_come_from_the_lock_by_hash() -> None:
    commands = [command.strip() for rest in rest_of("RUN") for command in rest.split("&&")]
    installs = [command.partition(" install ")[2] for command in commands if "/pip" in command]
    installs = [arguments for arguments in installs if arguments]
    by_hash = [line for line in installs if "--require-hashes -c requirements.lock" in line]
    # The one exception is pip itself, which the lock does not hold: one exact version.
    assert [line for line in installs if line not in by_hash] == ['"pip==${PIP}"']
    assert len(by_hash) == 2


def test_image_runs_as_a_high_number_and_not_as_root() -> None:
    (user,) = rest_of("USER")
    uid, gid = user.split(":")
    assert int(uid) >= 10_000
    assert int(gid) >= 10_000
    # Nothing after USER may need root.
    words = [word for word, _ in instructions()]
    assert "RUN" not in words[words.index("USER") :]


def test_image_holds_no_secret() -> None:
    text = (ROOT / "relay/Dockerfile").read_text()
    assert "PRIVATE KEY" not in text
    for rest in rest_of("ENV") + rest_of("ARG"):
        assert not re.search(r"(?i)secret|password|passwd|token|_key\b|credential", rest), rest
    assert not rest_of("ADD"), "ADD fetches addresses; COPY does not"


def test_image_starts_the_documented_command() -> None:
    assert [json.loads(rest) for rest in rest_of("ENTRYPOINT") + rest_of("CMD")] == [
        ["penstock-relay"],
        ["serve"],
    ]


def test_dockerfile_says_that_ci_does_not_build_it() -> None:
    assert "CI does not build this file" in (ROOT / "relay/Dockerfile").read_text()


@contextmanager
def ops_listener(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health_check(port: int) -> int:
    (rest,) = rest_of("HEALTHCHECK")
    program, *arguments = json.loads(rest.partition("CMD ")[2])
    assert program == "python"
    command = [sys.executable, *(argument.replace("9090", str(port)) for argument in arguments)]
    # A proxy in the environment must not be asked for the way to our own loopback.
    environment = {"http_proxy": "http://192.0.2.1:9", "HTTP_PROXY": "http://192.0.2.1:9"}
    return subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_health_check_tells_a_healthy_relay_from_a_sick_one(status: int, healthy: bool) -> None:
    with ops_listener(status) as port:
        assert (health_check(port) == 0) is healthy


def test_health_check_fails_when_nothing_listens() -> None:
    with ops_listener(200) as port:
        pass
    assert health_check(port) != 0
