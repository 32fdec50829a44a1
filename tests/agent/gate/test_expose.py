"""Expose lists: what an entry names, and what it never does."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.expose import (
    MAX_MATCHED,
    MAX_PATTERN,
    BadPattern,
    Expose,
    Item,
    is_plain,
    parse_pattern,
)


@pytest.mark.parametrize(
    ("entry", "kind", "glob"),
    [
        ("read_*", Item.TOOL, "read_*"),
        ("*", Item.TOOL, "*"),
        ("tool:ns:read", Item.TOOL, "ns:read"),
        ("prompt:*", Item.PROMPT, "*"),
        ("resource:file:///srv/**", Item.RESOURCE, "file:///srv/**"),
        ("method:x/*", Item.METHOD, "x/*"),
    ],
)
def test_an_entry_has_a_kind_and_a_glob(entry: str, kind: Item, glob: str) -> None:
    pattern = parse_pattern(entry)
    assert (pattern.kind, pattern.glob) == (kind, glob)
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("", "names nothing"),
        ("tool:", "names nothing"),
        ("resource:", "names nothing"),
        ("tools:read", "no known kind"),
        ("file:///srv/**", "no known kind"),
        ("Tool:read", "no known kind"),
        (" tool:read", "no known kind"),
        ("x" * (MAX_PATTERN + 1), "longer"),
    ],
)
def test_an_entry_that_means_nothing_is_refused_in_words(entry: str, word: str) -> None:
    with pytest.raises(BadPattern, match=word):
        parse_pattern(entry)


@pytest.mark.parametrize(
    ("glob", "shown", "hidden"),
    [
        ("read_file", ["read_file"], ["read_files", "Read_file", "read_file\n", "", "read-file"]),
        ("read_*", ["read_", "read_a", "read_\n"], ["read", "xread_a", "READ_A"]),
        ("*_read", ["_read", "a_read", "a_read_read"], ["a_reads", "read"]),
        ("a?c", ["abc", "a?c", "a\nc"], ["ac", "abbc"]),
        ("a*b*c", ["abc", "a-b-c", "abbcc"], ["acb", "abcd"]),
        ("*", ["", "anything/at all"], []),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]", ["[ab]"], ["a"]),
        ("a**b", ["ab", "a/b"], ["a"]),
    ],
)
def test_tool_globs_know_star_and_question_mark_only(glob: str, shown: list[str], hidden: list[str]) -> None:
    for kind in ("tool", "prompt", "method"):
        pattern = parse_pattern(f"{kind}:{glob}")
        assert [text for text in shown if not pattern.matches(text)] == []
        assert [text for text in hidden if pattern.matches(text)] == []


@pytest.mark.parametrize(
    ("glob", "shown", "hidden"),
    [
        (
            "file:///srv/*",
            ["file:///srv/a", "file:///srv/"],
            ["file:///srv/a/b", "file:///srv/a?b", "file:///srv/a#b"],
        ),
        (
            "file:///srv/**",
            ["file:///srv/a", "file:///srv/a/b?c#d", "file:///srv/"],
            ["file:///srv", "FILE:///srv/a"],
        ),
        ("file:///*/*.md", ["file:///a/b.md"], ["file:///a/b/c.md", "file:///a.md", "file:///a/b.mdx"]),
        ("**/notes/*", ["x://h/notes/a", "/notes/a/notes/b"], ["x://h/notes/a/b"]),
        ("**/a*b", ["x/a/ab", "x/ab/ab"], ["x/a/b", "x/ab/a"]),
        ("a**b**c", ["abc", "a/b/c", "abbc/c"], ["acb"]),
        ("x://t?q=1", ["x://t?q=1"], ["x://taq=1"]),
        ("demo://{id}", ["demo://{id}"], ["demo://1"]),
        ("demo://*", ["demo://{id}", "demo://1"], ["demo://{a}/{b}"]),
        ("**", ["x://y", "{+anything}", ""], []),
        ("***", ["x://y/z"], []),
        ("x://*/**/*", ["x://a/b/c", "x://a//c"], ["x://a/b"]),
    ],
)
def test_in_resource_globs_one_star_stays_in_its_segment(
    glob: str, shown: list[str], hidden: list[str]
) -> None:
    pattern = parse_pattern(f"resource:{glob}")
    assert [text for text in shown if not pattern.matches(text)] == []
    assert [text for text in hidden if pattern.matches(text)] == []


DISGUISED = [
    "file:///srv/../etc/passwd",
    "file:///srv/a/..",
    "file:///srv/./a",
    "file:///srv/.",
    "file:///srv/.. ",
    "file:///srv/..?x",
    "file:///srv/..#x",
    "file:///srv/..;x/a",
    "file:..",
    "file:///srv/%2e%2e/etc",
    "file:///srv/%2E./etc",
    "file:///srv/.%2e/etc",
    "file:///srv/%252e%252e/etc",
    "file:///srv/%25252E%2e/etc",
    "file:///srv/%73ecret",
    "file:///srv/%53ecret",
    "file:///srv/a%2Db%5f%7E%39%5A",
    "file:///srv/%2573ecret",
    "file:///srv/a%2fb",
    "file:///srv/a%2Fb",
    "file:///srv/a%5cb",
    "file:///srv/a%255Cb",
    "file:///srv/a\\..\\b",
    "file:///srv/a%00",
    "file:///srv/a%0a",
    "file:///srv/a%1F",
    "file:///srv/a%7f",
    "file:///srv/a\x00",
    "file:///srv/.\t./etc",
    "file:///srv/a\nb",
    "file:///srv/a\x7f",
    "file:///srv/a\x85b",
    "file://srv@evil/a",
    "https://good.example@evil.example/",
]


@pytest.mark.parametrize("uri", DISGUISED)
def test_a_disguised_uri_is_matched_by_its_own_text_only(uri: str) -> None:
    assert not is_plain(uri)
    for glob in ("**", "*", f"{uri[:8]}**", "file:///srv/**", "https://**"):
        assert not parse_pattern(f"resource:{glob}").matches(uri)
    assert parse_pattern(f"resource:{uri}").matches(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/My%20Docs/a.b..c/...",
        "file:///srv/.hidden",
        "file:///srv/a%C3%A4",
        "file:///srv/100%25",
        "crm://contacts/bob@example.com",
        "x://h/{a}/{b*}{?c,d}",
        "urn:isbn:0451450523",
        "file:///srv/ä",
    ],
)
def test_an_ordinary_uri_is_plain(uri: str) -> None:
    assert is_plain(uri)
    assert parse_pattern("resource:**").matches(uri)


def test_what_is_too_long_is_matched_by_its_own_text_only() -> None:
    longest, longer = "x" * MAX_MATCHED, "x" * (MAX_MATCHED + 1)
    assert parse_pattern("tool:*").matches(longest)
    assert not parse_pattern("tool:*").matches(longer)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("tool:" + "*a" * 200, "a" * MAX_MATCHED),
        ("tool:" + "*a" * 200 + "b", "a" * MAX_MATCHED),
        ("resource:" + "*a" * 200 + "b", "a" * MAX_MATCHED),
        ("resource:" + "**a*a" * 100 + "b", "a" * MAX_MATCHED),
        ("resource:" + "**/*a" * 100 + "b", "/a" * (MAX_MATCHED // 2)),
    ],
)
def test_no_text_of_a_caller_makes_matching_slow(entry: str, text: str) -> None:
    pattern = parse_pattern(entry)
    begun = time.process_time()
    pattern.matches(text)
    assert time.process_time() - begun < 1.0


def naive(glob: str, text: str, *, resource: bool) -> bool:
    """What a glob means, written down as the documentation says it, with a regex that may backtrack."""
    out = ""
    for part in re.findall(r"\*+|.", glob, re.DOTALL):
        if part.startswith("*"):
            out += ".*" if not resource or len(part) > 1 else "[^/?#]*"
        elif part == "?" and not resource:
            out += "."
        else:
            out += re.escape(part)
    return re.fullmatch(out, text, re.DOTALL) is not None


@given(st.text("ab*?/", min_size=1, max_size=10), st.text("ab/?", max_size=12))
def test_globs_mean_what_their_simplest_translation_means(glob: str, text: str) -> None:
    assert parse_pattern(f"tool:{glob}").matches(text) == naive(glob, text, resource=False)
    if "*" in glob:
        assert parse_pattern(f"resource:{glob}").matches(text) == naive(glob, text, resource=True)


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_wildcard_never_matches_what_is_not_plain(head: str, tail: str) -> None:
    for uri in (f"{head}/../{tail}", f"{head}%2e{tail}", f"{head}\\{tail}", f"{head}\x00{tail}"):
        assert not parse_pattern("resource:**").matches(uri)


def test_an_expose_list_shows_by_kind_and_an_empty_one_nothing() -> None:
    expose = Expose.parse(["read_*", "prompt:hi", "resource:a://**", "method:x"])
    assert expose.shows(Item.TOOL, "read_a")
    assert not expose.shows(Item.TOOL, "hi")
    assert expose.shows(Item.PROMPT, "hi")
    assert expose.shows(Item.RESOURCE, "a://b")
    assert expose.shows(Item.METHOD, "x")
    assert not expose.shows(Item.METHOD, "read_a")
    for item in Item:
        assert not Expose().shows(item, "read_a")
    assert not Expose.parse(["*"]).shows(Item.PROMPT, "hi")


@pytest.mark.parametrize(
    ("glob", "touched", "free"),
    [
        (
            "file:///srv/private/**",
            [
                "file:///srv/private/a",
                "file:///srv/%70rivate/a",
                "file:///srv//private/a",
                "file://localhost/srv/private/a",
                "file:/srv/private/a",
                "FILE:///srv/private/a",
                "file:///srv/private/a%3Fb",
            ],
            ["file:///srv/public/a", "file:///srv/privates", "file:///srv/Private/a"],
        ),
        (
            "file:///srv/m%C3%BCll/*",
            ["file:///srv/m%c3%bcll/a", "file:///srv/müll/a", "file:///srv/mu\u0308ll/a"],
            ["file:///srv/muell/a"],
        ),
        (
            "file:///srv/my key",
            ["file:///srv/my%20key", "file:///srv/my key#x", "file:///srv/my%20key?x"],
            [],
        ),
        ("https://Intra.example/**", ["https://INTRA.example/a"], ["https://intra.example.org/a"]),
        ("db://t?q=1", ["db://t?q=1", "db://t?q=%31", "db://t?q=1#a"], ["db://t?q=2", "db://t"]),
        ("file:///srv/private", ["file:///srv/private/"], ["file:///srv/private/a"]),
    ],
)
def test_what_takes_a_resource_away_takes_every_spelling_of_it(
    glob: str, touched: list[str], free: list[str]
) -> None:
    pattern = parse_pattern(f"resource:{glob}")
    assert [uri for uri in touched if not pattern.touches(uri)] == []
    assert [uri for uri in free if pattern.touches(uri)] == []


@pytest.mark.parametrize("kind", ["tool", "prompt", "method"])
def test_what_is_no_resource_has_one_spelling(kind: str) -> None:
    assert not parse_pattern(f"{kind}:a/b").touches("a/%62")


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_matched_is_touched(glob: str, uri: str) -> None:
    pattern = parse_pattern(f"resource:x{glob}")
    assert pattern.touches(uri) or not pattern.matches(uri)


@pytest.mark.parametrize("piece", ["%41", "a/", "#", "\u0308"])
def test_a_huge_uri_costs_nothing(piece: str) -> None:
    uri = "file:///" + piece * 1_000_000
    began = time.perf_counter()
    assert not parse_pattern("resource:file:///**").touches(uri)
    assert time.perf_counter() - began < 0.05
