from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.policy.paths import MAX_PATH, BadFolder, below, folder

BASE = folder("/srv/share")


@pytest.mark.parametrize(
    "path",
    [
        "/srv/share", "/srv/share/", "/srv/share/a", "/srv/share//a", "/srv//share/a/", "/srv/share/a b.txt",
        "/srv/share/..a", "/srv/share/a..", "/srv/share/...", "/srv/share/.hidden", "/srv/share/müde",
        "/srv/share/100%", "/srv/share/%41", "/srv/share/a:b", "/srv/share/a@b", "/srv/share/~",
    ],
)  # fmt: skip
def test_a_plain_path_in_the_folder_lies_below_it(path: str) -> None:
    assert below(path, BASE)


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/srv", "/srv/shared", "/srv/share2/a", "/srv/shar", "/SRV/share/a", "/etc/passwd",
        "srv/share/a", "./srv/share/a", "share/a", "~/a", "file:///srv/share/a",
        "/srv/share/..", "/srv/share/../etc/passwd", "/srv/share/a/../../../etc/passwd", "/srv/share/a/..",
        "/srv/share/./a", "/srv/share/.", "/srv/share/.. /x", "/srv/share/ ../x", "/srv/share/..\u00a0/x",
        "//srv/share/a", "///srv/share/a", " /srv/share/a",
        "/srv/share/a\0", "/srv/share/\0/../../etc", "/srv/share/a\nb", "/srv/share/\x7f", "/srv/share/\x85",
        "/srv/share/a\\..\\..", "\\srv\\share",
        "/srv/share/%2e%2e/x", "/srv/share/%2E./x", "/srv/share/%252e%252e/x", "/srv/share/..%2fx",
        "/srv/share/a%5c..", "/srv/share/%00", "/srv/share/%u002e%u002e/x",
        "/srv/share/．．/x", "/srv/share/․․/x", "/srv/share/‥/x", "/srv/share/a／..", "/srv/share／a",
        "/srv/share/a＼b", "/srv/share/…/x/℀",
    ],
)  # fmt: skip
def test_anything_else_lies_below_nothing(path: str) -> None:
    assert not below(path, BASE)


def test_the_root_holds_every_plain_path() -> None:
    assert below("/etc/passwd", folder("/"))
    assert below("/", folder("/"))
    assert not below("/etc/../x", folder("/"))


def test_a_path_has_a_greatest_length() -> None:
    assert below("/srv/share/".ljust(MAX_PATH, "a"), BASE)
    assert not below("/srv/share/".ljust(MAX_PATH + 1, "a"), BASE)


@pytest.mark.parametrize(
    "text", ["", "srv", "/srv/../x", "/srv/./x", "/srv\\x", "/srv\0", "/%2e%2e", "//srv"]
)
def test_a_folder_of_the_configuration_must_be_plain(text: str) -> None:
    with pytest.raises(BadFolder):
        folder(text)


def test_a_folder_may_end_with_a_slash() -> None:
    assert folder("/srv/share/") == folder("/srv//share") == "/srv/share"


@given(
    st.lists(st.sampled_from(["..", ".", "a", "", "share", "srv", "．．", "%2e%2e", " ", "..a"]), max_size=8)
)
def test_what_lies_below_is_there_for_posix_too(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    if below(path, BASE):
        assert f"{posixpath.normpath(path)}/".startswith("/srv/share/")
