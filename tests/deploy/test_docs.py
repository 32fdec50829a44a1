"""The administrators' pages against the code: every command, option and setting is there, and no other."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer.main
from pydantic import BaseModel

from penstock import __version__
from penstock_agent import cli as agent_cli
from penstock_agent import config as agent_config
from penstock_agent import sizes
from penstock_agent.callers.settings import CallerSettings
from penstock_agent.capture.settings import CaptureSettings
from penstock_agent.gate.redaction.detectors import DETECTORS
from penstock_agent.gate.redaction.settings import RedactSettings
from penstock_agent.ledger.entries import Decision, Event, Masked, Opened, Sent, Unsent
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.policy_settings import TaintSettings
from penstock_agent.server_settings import LimitSettings, ServerSettings
from penstock_agent.site.settings import SiteSettings
from penstock_agent.tolerance import Tolerance
from penstock_relay import config as relay_config
from penstock_relay import settings_file as relay_settings_file
from penstock_relay.cli.app import app as relay_app
from penstock_relay.oauth import issuer_settings
from penstock_relay.oauth.upstream.settings import UpstreamSettings
from tests.harness import cells

ROOT = Path(__file__).parents[2]
PAGES = {"agent": ROOT / "docs/agent.md", "relay": ROOT / "docs/relay.md"}
POLICY = ROOT / "docs/policy.md"
APPS = {"agent": agent_cli.app, "relay": relay_app}
#: Whatever people read.
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "PROTOCOL.md",
    "docs/agent.md",
    "docs/confinement.md",
    "docs/console.md",
    "docs/ledger.md",
    "docs/policy.md",
    "docs/proofs.md",
    "docs/relay.md",
    "docs/revisions.md",
    "docs/servers.md",
    "systemd/README.md",
    "helm/penstock-relay/README.md",
)
#: Options that every page describes once, above its table.
COMMON = {"--config", "--state-dir", "--json"}


def section(page: Path, title: str) -> str:
    return page.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """Cells of each row of the tables in ``text``, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        cells = [cell.strip().replace("\0", "|") for cell in line.replace("\\|", "\0").strip("|").split("|")]
        if not below.startswith("|---") and not line.startswith("|---"):
            yield cells


def commands(program: str) -> dict[str, set[str]]:
    """Words of each command -> its options."""
    found: dict[str, set[str]] = {}

    def walk(command: object, words: str) -> None:
        inner = getattr(command, "commands", None)
        if inner is not None:
            for name, each in inner.items():
                walk(each, f"{words} {name}")
        else:
            parameters = getattr(command, "params", [])
            found[words] = {o for p in parameters for o in p.opts if o.startswith("--")} - {"--help"}

    walk(typer.main.get_command(APPS[program]), f"penstock-{program}")
    return found


def documented_commands(program: str) -> dict[str, str]:
    """Words of each documented command -> its row."""
    found = {}
    for usage, text in rows(section(PAGES[program], "Commands")):
        match = re.match(r"`([a-z-]+(?: [a-z][a-z-]*)*)", usage)
        assert match, usage
        found[match[1]] = f"{usage} {text}"
    return found


@pytest.fixture(params=sorted(PAGES))
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_command_is_documented_and_no_other(program: str) -> None:
    assert set(commands(program)) == set(documented_commands(program))


def test_every_option_is_documented_and_no_other(program: str) -> None:
    documented = documented_commands(program)
    for words, options in commands(program).items():
        in_row = set(re.findall(r"--[a-z-]+", documented[words]))
        assert in_row - COMMON == options - COMMON, words
    above = section(PAGES[program], "Commands").split("|")[0]
    everywhere = set.union(*commands(program).values()) & COMMON
    assert set(re.findall(r"--[a-z-]+", above)) == everywhere


def settings_rows(program: str) -> list[list[str]]:
    """Rows of the first table: setting, environment, default, meaning."""
    return [row for row in rows(section(PAGES[program], "Settings")) if len(row) == 4]


def written(value: object) -> str:
    """As it stands in a TOML file."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def defaults(program: str, tmp_path: Path) -> dict[str, str]:
    """Each setting that one variable carries -> its default, empty where words describe it."""
    if program == "relay":
        fields = relay_config.Settings.model_fields
        return {
            name: written(field.default) if field.default not in (None, ()) else ""
            for name, field in fields.items()
        }
    empty = tmp_path / "agent.toml"
    empty.write_text("")
    settings = agent_config.load(agent_config.Options(config=empty), {})
    own = {field.name for field in dataclasses.fields(settings)} - {
        "caller",
        "capture",
        "config_file",
        "on_event",
        "ledger",
        "servers",
        "site",
        "sources",
        "taint",
        "options",
        "tolerance",
    }
    in_words = {"runtime_dir", "proxy", "ca_file"}
    shown = {name: getattr(settings, name) for name in own - in_words}
    return dict.fromkeys(in_words, "") | {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in shown.items()
    }


def test_every_setting_is_documented_with_its_variable_and_default(program: str, tmp_path: Path) -> None:
    prefix = f"PENSTOCK_{program.upper()}_"
    first, *others = settings_rows(program)
    assert first[:2] == ["", f"`{prefix}CONFIG`"]
    documented = {row[0].strip("`"): row for row in others}
    expected = defaults(program, tmp_path)
    assert set(documented) == set(expected)
    for name, default in expected.items():
        _, variable, shown, _ = documented[name]
        assert variable == f"`{prefix}{name.upper()}`"
        assert shown.strip("`") == default or not default, name


def test_default_files_are_the_documented_ones(program: str) -> None:
    files = {"agent": agent_config.DEFAULT_CONFIG, "relay": relay_settings_file.DEFAULT_CONFIG}
    default = files[program]
    assert f"`{default}`" in section(PAGES[program], "Settings")
    assert f"`{default}`" in section(PAGES[program], "Files")


def test_every_setting_of_a_server_is_documented_and_no_other() -> None:
    text = (
        section(PAGES["agent"], "Settings").split("`[servers.NAME]`")[1].split("`[servers.NAME.limits]`;")[0]
    )
    assert [row[0].strip("`") for row in rows(text)] == list(ServerSettings.model_fields)


def test_every_setting_about_sensitive_things_is_documented_with_its_default() -> None:
    text = section(POLICY, "Policy").split("### After something sensitive was read")[1]
    documented = [(row[0].strip("`"), json.loads(row[1].strip("`"))) for row in rows(text)]
    assert documented == list(TaintSettings().model_dump().items())


def test_every_setting_of_redaction_is_documented_and_all_that_can_be_found() -> None:
    documented = [row[0].strip("`") for row in rows(section(POLICY, "Redaction"))]
    assert documented == [*RedactSettings.model_fields, *DETECTORS]


def test_every_limit_of_a_server_is_documented_with_its_default() -> None:
    text = (
        section(PAGES["agent"], "Settings").split("`[servers.NAME.limits]`;")[1].split("Each MCP session")[0]
    )
    documented = {row[0].strip("`"): row[1].strip('`"') for row in rows(text)}
    assert list(documented) == list(LimitSettings.model_fields)
    for name, value in LimitSettings():
        shown = documented[name]
        assert value == (None if shown == "none" else sizes.read(shown)), name


def test_every_setting_about_callers_is_documented_and_no_other() -> None:
    text = section(PAGES["agent"], "Settings").split("`[caller]`")[1].split("`[ledger]`")[0]
    assert [row[0].strip("`") for row in rows(text)] == list(CallerSettings.model_fields)


def test_every_setting_of_the_ledger_is_documented_with_its_default() -> None:
    text = section(PAGES["agent"], "Settings").split("`[ledger]`")[1].split("`[tolerance]`")[0]
    documented = [(row[0].strip("`"), json.loads(row[1].strip("`"))) for row in rows(text)]
    assert [(name, sizes.read(value) if name == "max_size" else value) for name, value in documented] == list(
        LedgerSettings().model_dump().items()
    )


def test_every_setting_of_what_is_captured_is_documented_with_its_default() -> None:
    text = section(PAGES["agent"], "Captured payload")
    documented = {row[0].strip("`"): row[1].strip('`"') for row in rows(text)}
    assert list(documented) == list(CaptureSettings.model_fields)
    assert documented["keep_days"] == str(CaptureSettings.model_fields["keep_days"].default)
    assert sizes.read(documented["max_size"]) == CaptureSettings.model_fields["max_size"].default


def test_every_member_of_a_record_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/ledger.md").read_text()
    for kind in (Decision, Opened, Sent, Unsent, Masked, Event):
        members = {field.name for field in msgspec.structs.fields(kind)}
        [row] = [row for row in rows(text) if row[0] == f"`{kind.__struct_config__.tag}`"]
        assert set(re.findall(r"`([a-z_]+)`", row[1])) == members, kind


def test_every_switch_of_what_is_tolerated_is_documented_with_its_default() -> None:
    text = section(PAGES["agent"], "Settings").split("`[tolerance]`")[1].split("`[site]`")[0]
    assert [(row[0].strip("`"), row[1]) for row in rows(text)] == [
        (name, f"`{str(value).lower()}`") for name, value in Tolerance().model_dump().items()
    ]


def test_every_setting_of_the_site_is_documented_and_no_other() -> None:
    text = section(PAGES["agent"], "Settings").split("`[site]`")[1].split("Entries of `expose`")[0]
    assert [row[0].strip("`") for row in rows(text)] == list(SiteSettings.model_fields)


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("The table `[upstream]`:", UpstreamSettings),
        ("A table `[[issuers]]`:", issuer_settings.IssuerSettings),
        ("`[issuers.claims]` names", issuer_settings.ClaimSettings),
        ("`[issuers.introspection]`:", issuer_settings.IntrospectionSettings),
    ],
)
def test_every_setting_of_an_issuer_is_documented_and_no_other(table: str, model: type[BaseModel]) -> None:
    text = section(PAGES["relay"], "Settings").split(f"\n{table}")[1].split("\n`")[0].split("\nA table")[0]
    assert [row[0].strip("`") for row in rows(text)] == list(model.model_fields)


def test_every_kind_of_expose_entry_is_documented() -> None:
    from penstock_agent.gate.expose import Item

    text = section(PAGES["agent"], "Settings").split("Entries of `expose`")[1]
    assert set(re.findall(r"`([a-z]+):", text)) == {kind.value for kind in Item}


def test_what_this_version_refuses_is_not_documented_as_a_setting() -> None:
    documented = {row[0].strip("`") for row in settings_rows("relay")}
    assert not documented & set(relay_settings_file.NOT_ENFORCED)


def test_exit_statuses_are_documented() -> None:
    from penstock_agent.problem import Exit

    statuses = section(PAGES["agent"], "Commands").rpartition("Exit status:")[2]
    for status in Exit:
        assert re.search(rf"\b{int(status)} ", statuses), status


def test_units_and_chart_name_only_settings_that_exist(tmp_path: Path) -> None:
    files = [*(ROOT / "systemd").glob("*"), ROOT / "relay/Dockerfile"]
    files += [path for path in (ROOT / "helm").rglob("*") if path.is_file()]
    for file in files:
        for program, name in re.findall(r"PENSTOCK_(AGENT|RELAY)_([A-Z_]+[A-Z])\b", file.read_text()):
            known = {*defaults(program.lower(), tmp_path), "config"}
            # Not a setting, but what Kubernetes would make of a Service; the comment there says so.
            assert name.lower() in known or name == "PORT", (file, name)


def test_changelog_has_the_version_of_the_program() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[([0-9.]+)\]", text, re.MULTILINE)
    assert versions[0] == __version__
    # What one can rely on stands before what changed.
    assert text.index("## What you can rely on") < text.index(f"## [{versions[0]}]")


def test_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("page", DOCUMENTS)
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    folders = "core|agent|relay|tests|bench|systemd|helm|docs"
    for name in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*\w)", text):
        assert (ROOT / name).exists(), name
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """As pages of a repository are shown: small letters, digits and hyphens."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS)
def test_places_that_a_page_links_to_exist(page: str) -> None:
    for target, place in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", (ROOT / page).read_text()):
        assert place in anchors((ROOT / page).parent / target if target else ROOT / page), (target, place)


@pytest.mark.parametrize("page", DOCUMENTS)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: str) -> None:
    head = 0
    for line in (ROOT / page).read_text().splitlines():
        cells_here = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (head and cells_here) or cells_here == head, line
        head = cells_here


def test_what_works_between_revisions_is_what_the_matrix_test_tries() -> None:
    found = section(ROOT / "docs/revisions.md", "What works between which revisions")
    assert cells.table() in found, "what `python -m tests.harness.cells` prints belongs there"
