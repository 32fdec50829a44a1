import pytest

from penstock_agent.catalogue.offer import Catalogue, Effect, Offer
from penstock_agent.exposing import entries as exposing
from penstock_agent.gate.expose import Item as Kind
from penstock_agent.problem import Problem

FILES = Catalogue(
    "files",
    [
        Offer(Kind.TOOL, "read_file", "", Effect.READ),
        Offer(Kind.TOOL, "read_*", "", Effect.READ),
        Offer(Kind.TOOL, "write_file", "", Effect.WRITE),
        Offer(Kind.TOOL, "odd:name", "", Effect.UNMARKED),
        Offer(Kind.PROMPT, "greet"),
        Offer(Kind.RESOURCE, "file:///srv/a.txt"),
    ],
)


def refusal(*call: object) -> str:
    with pytest.raises(Problem) as caught:
        call[0](*call[1:])  # type: ignore[operator]  # the first is the function
    assert caught.value.status == 2
    return str(caught.value)


def test_patterns_are_added_and_a_bare_name_is_a_tool() -> None:
    assert exposing.add(["a"], ["write_file", "prompt:greet"], FILES, force=False) == [
        "a",
        "tool:write_file",
        "prompt:greet",
    ]


def test_what_is_there_already_is_not_added_twice_however_it_is_spelt() -> None:
    assert exposing.add(["read_*"], ["tool:read_*", "write_file", "write_file"], FILES, force=False) == [
        "read_*",
        "tool:write_file",
    ]


def test_a_pattern_that_names_nothing_is_refused_unless_forced() -> None:
    with pytest.raises(Problem, match="raed_file matches no tool that files offers now; nothing was written"):
        exposing.add([], ["raed_file"], FILES, force=False)
    with pytest.raises(Problem, match="matches no prompt"):
        exposing.add([], ["prompt:read_file"], FILES, force=False)
    assert exposing.add([], ["raed_file"], FILES, force=True) == ["tool:raed_file"]


def test_methods_cannot_be_checked_and_are_taken_as_they_are() -> None:
    assert exposing.add([], ["method:x/y"], FILES, force=False) == ["method:x/y"]


def test_a_pattern_that_means_nothing_is_refused() -> None:
    with pytest.raises(Problem, match="'tools:x' starts with no known kind"):
        exposing.add([], ["tools:x"], FILES, force=True)


def test_read_only_replaces_the_tools_by_name_and_keeps_other_kinds() -> None:
    current = ["*", "tool:write_file", "prompt:greet", "resource:**"]
    assert exposing.read_only(current, FILES) == ["prompt:greet", "resource:**", "tool:read_file"]


def test_read_only_never_writes_a_name_that_is_a_wildcard() -> None:
    assert "tool:read_*" not in exposing.read_only([], FILES)


def test_read_only_without_such_a_tool_is_refused() -> None:
    unmarked = Catalogue("x", [Offer(Kind.TOOL, "a", "", Effect.UNMARKED)])
    assert "No tool of x says that it only reads" in refusal(exposing.read_only, ["b"], unmarked)


def test_all_names_only_the_kinds_that_the_server_has() -> None:
    assert exposing.everything(["tool:x", "method:m"], FILES) == [
        "method:m",
        "tool:*",
        "prompt:*",
        "resource:**",
    ]
    assert exposing.everything([], Catalogue("x", [Offer(Kind.TOOL, "a")])) == ["tool:*"]


def test_hide_removes_the_entry_and_those_that_it_covers() -> None:
    current = ["read_*", "tool:read_file", "write_file", "prompt:read_me"]
    assert exposing.remove(current, ["read_*"], "files") == ["write_file", "prompt:read_me"]
    assert exposing.remove(current, ["*"], "files") == ["prompt:read_me"]
    assert exposing.remove(current, ["write_file"], "files") == ["read_*", "tool:read_file", "prompt:read_me"]


def test_hide_refuses_what_a_wider_entry_would_go_on_exposing() -> None:
    text = refusal(exposing.remove, ["read_*", "tool:read_file"], ["read_file"], "files")
    assert "would stay exposed through read_*" in text
    assert "hide files 'read_*'" in text


def test_hide_refuses_what_is_not_exposed() -> None:
    assert "write_file is not exposed" in refusal(exposing.remove, ["read_*"], ["write_file"], "files")
    assert "The entries of files: none" in refusal(exposing.remove, [], ["x"], "files")


def test_shown_is_what_the_gate_shows() -> None:
    assert exposing.shown(["read_file", "resource:file:///srv/**"], FILES.items) == {
        (Kind.TOOL, "read_file"),
        (Kind.RESOURCE, "file:///srv/a.txt"),
    }
