import sys

import pytest
from typer.testing import CliRunner

from penstock import __version__
from penstock_agent import cli, config
from penstock_agent.cli import app


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_version() -> None:
    assert invoke("--version") == (0, f"penstock-agent {__version__}\n")


def test_the_commands_are_those_that_exist() -> None:
    names = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    assert names == {
        "join", "run", "import", "servers", "expose", "hide", "status", "doctor", "pause", "resume", "renew",
        "tools", "approvals", "policy", "ledger", "capture", "config", "top", "console",
    }  # fmt: skip


@pytest.mark.parametrize(
    "command", ["join", "run", "import", "expose", "hide", "status", "doctor", "pause", "resume", "renew"]
)
def test_every_command_has_help_and_the_common_options(command: str) -> None:
    status, text = invoke(command, "--help")
    assert status == 0
    assert "--config" in text
    assert "--state-dir" in text
    assert ("--json" in text) == (command != "run")


def test_wrong_usage_is_status_2() -> None:
    assert invoke("status", "--no-such-option")[0] == 2
    assert invoke("no-such-command")[0] == 2
    assert invoke("expose")[0] == 2


def test_an_error_of_ours_shows_its_kind_and_place_but_no_trace_and_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(config, "load", broken)
    monkeypatch.setattr(sys, "argv", ["penstock-agent", "renew"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert "internal error (TypeError at renew:" in shown.err
    assert "Traceback" not in shown.err
    assert "secret" not in shown.err
    assert shown.err.count("\n") == 1
