"""Stopping and letting go on where no agent runs; with one, the commands' and the console's tests do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent import pausing
from penstock_agent.config import Options, Settings, load
from penstock_agent.control.pausing import change
from penstock_agent.gate.pause import MOST, Entry, Kind, Paused
from penstock_agent.problem import Problem


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "agent.toml").write_text("")
    return load(Options(tmp_path / "agent.toml", tmp_path))


async def test_the_next_agent_finds_what_was_stopped_until_it_was_let_go_on(settings: Settings) -> None:
    done, running = await change(settings, "pause", Kind.SERVER, "files")
    assert (done.changed, running) == (True, False)
    assert not (await change(settings, "pause", Kind.SERVER, "files"))[0].changed
    assert [entry.what for entry in pausing.load(settings.state_dir).entries] == ["the server files"]
    assert (await change(settings, "resume", Kind.SERVER, "files"))[0].entries == []
    assert pausing.load(settings.state_dir) == Paused()
    assert not (await change(settings, "resume", Kind.SERVER, "files"))[0].changed


async def test_a_mistake_in_the_settings_is_told(settings: Settings) -> None:
    with pytest.raises(Problem, match="unknown key"):
        await change(settings, "pause", Kind.EVERYTHING, "", Problem("unknown key"))
    assert pausing.load(settings.state_dir) == Paused()


async def test_more_than_are_kept_are_refused_in_words(settings: Settings) -> None:
    pausing.save(settings.state_dir, Paused(tuple(Entry(Kind.CALLER, str(n)) for n in range(MOST))))
    with pytest.raises(Problem, match="resume some of them"):
        await change(settings, "pause", Kind.CALLER, "one more")
