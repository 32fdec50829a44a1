from pathlib import Path

import pytest

from penstock_agent.children.references import MAX_BYTES, BadReference, file_of, resolve


def secret(path: Path, data: bytes = b"hunter2\n", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refusal(value: str, agent: dict[str, str] | None = None) -> str:
    with pytest.raises(BadReference) as refused:
        resolve({"TOKEN": value}, agent or {})
    text = str(refused.value)
    assert text.startswith("TOKEN in env names ")
    assert "hunter2" not in text
    return text


def test_a_file_gives_its_text_without_the_last_line_break(tmp_path: Path) -> None:
    path = secret(tmp_path / "token")
    assert resolve({"A": f"file:{path}", "B": "plain"}, {}) == {"A": "hunter2", "B": "plain"}
    secret(path, "-----BEGIN ü-----\nx\n-----END-----\n".encode())
    assert resolve({"A": f"file:{path}"}, {})["A"].count("\n") == 2


@pytest.mark.parametrize(
    "value", ["file:///srv/x", "file:./dev.db", "file:", "cred:", "cred:a/b", "credit:x", "x file:/y"]
)
def test_what_only_looks_alike_is_a_value(value: str) -> None:
    assert resolve({"A": value}, {}) == {"A": value}
    assert file_of(value) is None


def test_a_credential_is_one_that_systemd_gave_to_the_agent(tmp_path: Path) -> None:
    secret(tmp_path / "crm.token", mode=0o440)
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert resolve({"A": "cred:crm.token"}, given) == {"A": "hunter2"}
    assert "systemd has given none" in refusal("cred:crm.token")
    assert "LoadCredential=other:/path" in refusal("cred:other", given)


@pytest.mark.parametrize(
    ("data", "mode", "words"),
    [
        (b"hunter2", 0o644, "which everybody may read or write (mode 0644)"),
        (b"hunter2", 0o602, "chmod o-rwx"),
        (b"", 0o600, "which must hold text"),
        (b"\n\n", 0o600, "which must hold text"),
        (b"hunter2\xff", 0o600, "which must hold text"),
        (b"hunter2\0", 0o600, "which must hold text"),
        (b"x" * (MAX_BYTES + 1), 0o600, "at most 65536 bytes"),
    ],
)
def test_what_is_no_secret_is_said_without_its_content(
    data: bytes, mode: int, words: str, tmp_path: Path
) -> None:
    assert words in refusal(f"file:{secret(tmp_path / 'token', data, mode)}")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(f"file:{tmp_path / 'none'}")
    assert "is not a regular file" in refusal(f"file:{tmp_path}") or "Is a directory" in refusal(
        f"file:{tmp_path}"
    )
