"""How results of the official suite are read, and what the suite runs where nothing is."""

import json
from pathlib import Path

import pytest

from tests.harness.conformance import CURRENT, FIRST, Status, SuiteError, read, run


def left(folder: Path, scenario: str, *checks: dict[str, str]) -> None:
    """What the suite leaves of one scenario."""
    place = folder / f"server-{scenario}-2026-11-27T19-06-46-076Z"
    place.mkdir()
    (place / "checks.json").write_text(json.dumps(checks))


def check(id: str, status: str) -> dict[str, str]:
    return {"id": id, "status": status, "errorMessage": f"why {id}"}


def test_everything_that_did_not_succeed_is_a_problem_by_name(tmp_path: Path) -> None:
    left(tmp_path, "ping", check("a", "SUCCESS"), check("b", "INFO"))
    others = (check("b", "FAILURE"), check("c", "WARNING"), check("d", "SKIPPED"))
    left(tmp_path, "tools-list", check("a", "SUCCESS"), *others)
    report = read(tmp_path)
    assert report.scenarios == {"ping", "tools-list"}
    assert report.succeeded() == 2
    assert report.problems() == [
        "tools-list: b: FAILURE: why b",
        "tools-list: c: WARNING: why c",
        "tools-list: d: SKIPPED: why d",
    ]
    assert report.of(lambda scenario: scenario == "ping").problems() == []


def test_a_scenario_that_only_informs_or_says_nothing_has_checked_nothing(tmp_path: Path) -> None:
    left(tmp_path, "idle", check("a", "INFO"))
    left(tmp_path, "silent", check("wire-schema-valid", "SUCCESS"))
    left(tmp_path, "empty")
    names = ("empty", "idle", "silent")
    assert read(tmp_path).problems() == [f"{name}: nothing was checked" for name in names]


def test_of_checks_with_one_id_the_worst_counts(tmp_path: Path) -> None:
    left(tmp_path, "twice", *(check("same", status) for status in ("SUCCESS", "FAILURE", "SUCCESS")))
    assert read(tmp_path).statuses("twice") == {"same": Status.FAILURE}


def test_a_status_that_nobody_knows_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    left(tmp_path, "ping", check("a", "PERHAPS"))
    with pytest.raises(ValueError, match="PERHAPS"):
        read(tmp_path)


@pytest.mark.parametrize("package", [CURRENT, FIRST])
def test_where_nobody_listens_the_suite_fails_a_scenario(package: str, tmp_path: Path) -> None:
    report = run(package, ["--scenario", "ping"], "http://localhost:9/mcp", tmp_path / "results")
    assert report.statuses("ping")["ping"] is Status.FAILURE


def test_a_suite_that_runs_nothing_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no-such-scenario"):
        run(CURRENT, ["--scenario", "no-such-scenario"], "http://localhost:9/mcp", tmp_path / "results")
