import os
import sys
from pathlib import Path

import pytest

from penstock_agent.adding import trial
from penstock_agent.adding.trial import Trial, environment_of
from penstock_agent.server_settings import ServerSettings
from tests.harness.agent_site import SERVER


def server(code: str, **settings: object) -> ServerSettings:
    return ServerSettings.model_validate({"command": [sys.executable, "-c", code], **settings})


async def tried(tmp_path: Path, what: ServerSettings, patience_s: float = 20) -> Trial:
    return await trial.run("x", what, tmp_path, os.environ, patience_s=patience_s)


async def test_a_server_that_works_says_who_it_is_and_what_it_offers(tmp_path: Path) -> None:
    code = SERVER.replace(
        '"capabilities"', '"serverInfo": {"name": "files", "version": "1.2"}, "capabilities"'
    )
    found = await tried(tmp_path, server(code))
    assert found.works
    assert (found.name, found.version, found.revisions) == ("files", "1.2", ["2025-11-25"])
    assert (found.tools, found.prompts, found.resources) == (5, 1, 0)
    started, greeted, offers = (step.text for step in found.steps)
    assert started.startswith(f"started {sys.executable} (isolation ")
    assert "network none" in started
    assert greeted == "greeted: files 1.2, speaks 2025-11-25"
    assert offers == "offers 5 tools, 1 prompts, 0 resources"
    assert all(step.done for step in found.steps)


async def test_one_that_ends_is_told_with_its_last_words_the_cause_and_the_next_step(tmp_path: Path) -> None:
    found = await tried(tmp_path, server("import os; os.environ['CRM_TOKEN']"))
    assert not found.works
    assert [step.done for step in found.steps] == [True, False]
    assert found.steps[-1].text == "ended with status 1 before it had answered"
    assert found.said[-1] == "KeyError: 'CRM_TOKEN'"
    assert "CRM_TOKEN" in found.cause
    assert "env = { CRM_TOKEN" in found.step


async def test_values_of_variables_and_secret_arguments_are_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary-in-file\n")
    (tmp_path / "secret").chmod(0o600)
    code = "import os, sys; e = os.environ; sys.exit(f'{e[chr(65)]} {e[chr(66)]} {sys.argv[1:]}')"
    what = ServerSettings.model_validate(
        {
            "command": [sys.executable, "-c", code, "--api-key", "canary-in-arguments"],
            "env": {"A": "canary-in-env", "B": f"file:{tmp_path}/secret"},
        }
    )
    found = await tried(tmp_path, what)
    assert found.said[-1] == "… … ['--api-key', '…']"
    assert "canary" not in repr(found)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    found = await tried(tmp_path, ServerSettings(command=("no-such-program",)))
    [step] = found.steps
    assert "no-such-program is in no folder of PATH" in step.text


async def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    found = await tried(tmp_path, server("import sys; sys.stdin.read()"), patience_s=1.5)
    assert found.steps[-1].text == "did not answer within 1.5 s"


async def test_what_needs_the_network_is_told_to_have_none(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    found = await tried(tmp_path, server(code))
    assert not found.works
    assert 'network = "host"' in found.step


async def test_a_place_that_it_may_not_see_is_named(tmp_path: Path) -> None:
    place = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    place.mkdir()
    found = await tried(tmp_path, server(f"import os; os.listdir({str(place)!r})"))
    if found.said:  # a kernel with Landlock
        assert f'read = ["{place}"]' in found.step
    assert not found.works
    again = await tried(
        tmp_path, server(f"import os; os.listdir({str(place)!r})\n{SERVER}", read=[str(place)])
    )
    assert again.works, again


async def test_a_server_of_the_network_that_is_not_there(tmp_path: Path) -> None:
    found = await tried(tmp_path, ServerSettings(url="http://127.0.0.1:9/mcp"))
    assert not found.works
    assert "127.0.0.1:9" in found.steps[0].text


def test_the_running_agents_environment_is_used_where_it_can_be_read() -> None:
    assert environment_of(os.getpid())["PATH"]
    assert environment_of(0) is os.environ
    assert environment_of(2**22 + 5) is os.environ


@pytest.mark.parametrize("value", ["file:/no/such/file", "plain"])
def test_a_file_that_is_gone_hides_nothing_and_breaks_nothing(value: str) -> None:
    assert trial._content(value) in ("", "plain")
