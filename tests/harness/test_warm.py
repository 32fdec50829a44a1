"""Commands that are run warm do as those that are started: with all that they are given and say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import warm
from tests.harness.stack import clean_environment, console_script


@pytest.fixture(scope="module", autouse=True)
def commands() -> Iterator[None]:
    with warm.commands():
        yield


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **clean_environment(),
        "PENSTOCK_RELAY_CONFIG": os.devnull,
        **{f"PENSTOCK_RELAY_{name}LISTEN": "127.0.0.1:0" for name in ("", "TUNNEL_", "OPS_")},
        "PENSTOCK_RELAY_TUNNEL_URL": "wss://127.0.0.1:1",
        "PENSTOCK_RELAY_STATE_DIR": str(tmp_path / "relay"),
        "PENSTOCK_AGENT_CONFIG": str(tmp_path / "agent.toml"),
        "PENSTOCK_AGENT_STATE_DIR": str(tmp_path / "agent"),
    }


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("penstock-relay", "--version"),
        ("penstock-relay", "site", "list", "--json"),
        ("penstock-relay", "launch"),
        ("penstock-relay", "site", "--help"),
        ("penstock-agent", "--version"),
        ("penstock-agent", "status"),
        ("penstock-agent", "status", "--json"),
        ("penstock-agent", "join", "-"),
    ],
    ids=" ".join,
)
def test_status_and_words_are_those_of_a_start(env: dict[str, str], words: tuple[str, ...]) -> None:
    argv = [console_script(words[0]), *words[1:]]
    done = warm.run(argv, env, "a line that is no join string\n")
    with warm.cold():
        assert said(done) == said(warm.run(argv, env, "a line that is no join string\n"))


def test_each_has_the_environment_and_the_folder_that_it_is_given(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = console_script("penstock-relay")
    assert warm.run([relay, "site", "add", "plant"], env).returncode == 0
    assert "plant" in warm.run([relay, "site", "list"], env).stdout
    monkeypatch.chdir(tmp_path)
    assert "plant" in warm.run([relay, "site", "list"], env | {"PENSTOCK_RELAY_STATE_DIR": "relay"}).stdout
    assert "plant" not in warm.run([relay, "site", "list"], env | {"PENSTOCK_RELAY_STATE_DIR": "new"}).stdout


def test_many_at_once_get_their_own_words(env: dict[str, str]) -> None:
    def words(verb: str) -> str:
        return warm.run([console_script("penstock-relay"), verb, "--help"], env).stdout

    verbs = ["site", "agent", "token", "user", "grant", "audit"] * 3
    with ThreadPoolExecutor(6) as pool:
        for verb, text in zip(verbs, pool.map(words, verbs), strict=True):
            assert f"penstock-relay {verb}" in text


def test_one_that_takes_too_long_is_killed(env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run([console_script("penstock-relay"), "serve"], env, timeout=3)
    assert (tmp_path / "relay" / "listening.json").exists(), "it has begun"
