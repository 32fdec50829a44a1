from collections.abc import Callable

import pytest

from penstock_agent import undumpable
from penstock_agent.config import Settings
from penstock_agent.daemon import daemon
from penstock_agent.problem import Exit, Problem
from tests.harness.agent_site import Site


@pytest.fixture(autouse=True)
def dumpable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that runs the tests stays as it is."""
    monkeypatch.setattr(undumpable, "undumpable", lambda: None)


def daemon_that(monkeypatch: pytest.MonkeyPatch, work: Callable[[Settings], int]) -> None:
    async def run(settings: Settings) -> int:
        return work(settings)

    monkeypatch.setattr(daemon, "run", run)


def test_the_daemon_gets_the_settings_and_its_status_is_ours(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def work(settings: Settings) -> int:
        assert hidden == [True]
        seen.append(settings)
        return 3

    hidden: list[bool] = []
    monkeypatch.setattr(undumpable, "undumpable", lambda: hidden.append(True))

    daemon_that(monkeypatch, work)
    assert site.run("run").status == 3
    assert seen[0].state_dir == site.state


def test_what_the_daemon_cannot_do_is_said_in_words(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_settings: Settings) -> int:
        raise Problem("The key is gone.", Exit.USAGE)

    daemon_that(monkeypatch, work)
    done = site.run("run")
    assert done.status == 2
    assert "penstock-agent: The key is gone." in done.stderr
