from __future__ import annotations

from pathlib import Path

import pytest

from penstock_agent.remote.headers import MAX_VALUE, BadHeader, Header, read


def secret(folder: Path, text: str = "s3cret\n", mode: int = 0o600) -> Path:
    path = folder / "crm.token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_value_comes_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    path = secret(tmp_path)
    assert Header.parse("Authorization", f"file:{path}").read() == "s3cret"
    assert Header.parse("Authorization", f"Bearer file:{path}").read() == "Bearer s3cret"


def test_what_is_no_secret_may_stand_in_the_settings(tmp_path: Path) -> None:
    headers = (Header.parse("X-Tenant", "plant 7"), Header.parse("X-Api-Key", f"file:{secret(tmp_path)}"))
    assert read(headers) == {"X-Tenant": "plant 7", "X-Api-Key": "s3cret"}
    assert [header.file is None for header in headers] == [True, False]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("Authorization", "Bearer abc", "looks like a secret"),
        ("X-Api-Key", "abc", "looks like a secret"),
        ("X-Access-Token", "abc", "looks like a secret"),
        ("Cookie", "a=b", "looks like a secret"),
        ("X-Thing", "Basic dXNlcjp4", "looks like a secret"),
        ("Authorization", "file:crm.token", "in a form that is not understood"),
        ("Authorization", "Bearer file:crm.token", "in a form that is not understood"),
        ("X-A", " file:/x", "in a form that is not understood"),
        ("X A", "b", "is not the name of a header"),
        ("", "b", "is not the name of a header"),
        ("X-A:", "b", "is not the name of a header"),
        ("Host", "evil", "sets itself"),
        ("content-length", "3", "sets itself"),
        ("Mcp-Session-Id", "x", "sets itself"),
        ("MCP-Protocol-Version", "x", "sets itself"),
        ("X-A", "a\r\nX-B: c", "printable ASCII"),
        ("X-A", "grün", "printable ASCII"),
        ("X-A", " a", "printable ASCII"),
        ("X-A", "x" * (MAX_VALUE + 1), "printable ASCII"),
    ],
)
def test_what_cannot_be_a_header_is_refused_without_its_value(name: str, value: str, words: str) -> None:
    with pytest.raises(BadHeader, match=words) as refused:
        Header.parse(name, value)
    assert "abc" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("s3cret", 0o644, "can be read or written by everybody .*chmod o-rwx"),
        ("s3cret", 0o602, "can be read or written by everybody"),
        ("", 0o600, "must hold one line"),
        ("s3cret\ntwo\n", 0o600, "must hold one line"),
        ("grün", 0o600, "must hold one line"),
        ("x" * (MAX_VALUE + 1), 0o600, "must hold one line"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(
    text: str, mode: int, words: str, tmp_path: Path
) -> None:
    header = Header.parse("Authorization", f"file:{secret(tmp_path, text, mode)}")
    with pytest.raises(BadHeader, match=words) as refused:
        header.read()
    assert "s3cret" not in str(refused.value)
    assert "crm.token" in str(refused.value)


def test_a_file_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadHeader, match="cannot be read: No such file"):
        Header.parse("Authorization", f"file:{tmp_path}/none").read()
    with pytest.raises(BadHeader, match="cannot be read: Is a directory"):
        Header.parse("Authorization", f"file:{tmp_path}").read()
