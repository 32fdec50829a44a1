"""Private keys, whole, cut off, and dressed up."""

from __future__ import annotations

import pytest

from penstock_agent.gate.redaction.keys import MAX_KEY, find

BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 5 + ["aGVsbG8="])


def pem(label: str = "PRIVATE KEY", body: str = BODY) -> str:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"


def without(text: str) -> str:
    """``text`` with an X for each key."""
    parts, at = [], 0
    for start, end in find(text):
        parts.append(text[at:start] + "X")
        at = end
    return "".join([*parts, text[at:]])


@pytest.mark.parametrize(
    "label",
    [
        "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "ANY PRIVATE KEY",
    ],
)  # fmt: skip
def test_a_key_is_found_from_its_beginning_to_its_end(label: str) -> None:
    assert without(f"before\n{pem(label)}\nafter {pem(label)}.") == "before\nX\nafter X."


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"    {line}\n" for line in pem().splitlines()),
        "".join(f"{n:6}\t{line}\n" for n, line in enumerate(pem().splitlines(), 1)),
        "".join(f"key.pem:{n}:{line}\n" for n, line in enumerate(pem().splitlines(), 1)),
        "".join(f"> {line}\n" for line in pem().splitlines()),
        "".join(f"+{line}\n" for line in pem().splitlines()),
        pem().replace("\n", "\\n"),
        pem().replace("\n", "\r\n"),
        pem().replace("\n", ""),
        pem(body=f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n{BODY}"),
        pem(body="…"),
    ],
)
def test_what_stands_around_its_lines_does_not_hide_it(text: str) -> None:
    assert "MII" not in without(text)
    assert "END" not in without(text)


def test_putty_and_ssh2_have_files_of_their_own() -> None:
    putty = (
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: me\nPublic-Lines: 2\n"
        f"{'A' * 64}\n{'B' * 16}\nPrivate-Lines: 1\n{'C' * 44}\nPrivate-MAC: {'0a' * 32}"
    )
    assert without(f"a {putty} b") == "a X b"
    assert "C" * 44 not in without(putty.partition("Private-MAC")[0])
    ssh2 = f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{BODY}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----"
    assert without(ssh2) == "X"


def test_the_first_lines_of_a_key_are_found_without_its_end() -> None:
    head = "\n".join(pem("RSA PRIVATE KEY").splitlines()[:4])
    assert without(f"{head}\n") == "X\n"
    assert without(f"{head}\nand so on\n") == "X\nand so on\n"
    numbered = "".join(f"{n:6}\t{line}\n" for n, line in enumerate(head.splitlines(), 1))
    assert "MII" not in without(numbered)
    encrypted = f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n{BODY}"
    assert "MII" not in without(encrypted)


def test_the_last_lines_of_a_key_are_found_without_its_beginning() -> None:
    tail = "\n".join(pem().splitlines()[3:])
    assert without(f"the end of it:\n{tail}\nthat is all") == "the end of it:\nX\nthat is all"


@pytest.mark.parametrize("border", ["\0", "\1"])
def test_a_key_that_stands_in_two_texts_is_found_in_both(border: str) -> None:
    lines = pem().splitlines()
    text = "\n".join(lines[:3]) + border + "\n".join(lines[3:])
    assert without(f"a {text} b") == f"a X{border}X b"


def test_two_keys_with_words_between_them_are_two() -> None:
    assert without(f"{pem()}\nsecret of another kind\n{pem()}") == "X\nsecret of another kind\nX"


def test_ends_that_are_far_apart_are_not_those_of_one_key() -> None:
    far = "words " * (MAX_KEY // 6 + 1)
    text = f"-----BEGIN PRIVATE KEY-----\n{far}\n-----END PRIVATE KEY-----"
    assert without(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a PRIVATE KEY is private",
        pem("CERTIFICATE"),
        pem("PUBLIC KEY"),
        "-----BEGIN PRIVATE KEY----- begins a key, as everybody knows who has seen one",
        "It ends with a line\n-----END PRIVATE KEY-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPcontent me@host",
        "-----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\1-----END PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_stays(text: str) -> None:
    assert find(text) == []
