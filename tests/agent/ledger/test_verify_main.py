"""The verifier: whatever is done to a ledger is found, and the first record that it was done to is named."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock_agent.ledger import key as keys
from penstock_agent.ledger import record, verify_main
from penstock_agent.ledger.settings import LedgerSettings
from penstock_agent.ledger.verify_main import Head, Result, Unusable, Verifier, check_signature, verify
from tests.agent.ledger.book import ALICE, BOB, Clock, decision, files, ledger, sent

DAY = 86_400.0


def fast(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def written(state: Path, count: int = 12, segment_bytes: int = 1500) -> None:
    """A ledger of some segments, with heads in between."""

    async def write() -> None:
        clock = Clock()
        with ledger(state, clock=clock, segment_bytes=segment_bytes) as writer:
            for number in range(count):
                writer.record(decision(number, who=(ALICE, BOB)[number % 2]))
                writer.record(sent(number, who=(ALICE, BOB)[number % 2]))
                clock.now += 61
                await writer.tick()

    asyncio.run(write())


def head_of(state: Path) -> Head:
    """What the relay has kept: the head of the ledger as it is now."""
    last = json.loads(files(state)[-1].read_bytes().splitlines()[-1])
    key = keys.load(state, make=False)
    made = key.sign(int(last["n"]), bytes.fromhex(last["h"]), 1_790_000_000.5)
    return Head(made.key, made.n, made.hash, made.at_ms, made.signature, "relay.json")


def head_file(head: Head, path: Path) -> Path:
    said = {
        "key": record.text(head.key),
        "n": head.n,
        "hash": head.hash.hex(),
        "at": verify_main._moment(head.at_ms),
        "signature": record.text(head.signature),
        "site": "acme",
        "agent": "one",
    }
    path.write_text(json.dumps(said))
    return path


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("state")
    written(state)
    return state


@pytest.fixture(scope="module")
def pages(book: Path) -> list[list[bytes]]:
    """The lines of each file."""
    return [path.read_bytes().splitlines(keepends=True) for path in files(book)]


def looked_at(pages: list[list[bytes]], *heads: Head) -> Result:
    verifier = Verifier(heads, check=fast)
    for number, lines in enumerate(pages, 1):
        # As they stand in a file: a line that lost its end is one with the next.
        again = b"".join(lines).splitlines(keepends=True) if b"\r" not in b"".join(lines) else _split(lines)
        if not verifier.file(number, f"{number:08d}.jsonl", again):
            break
    return verifier.end()


def _split(lines: list[bytes]) -> Iterator[bytes]:
    rest = b"".join(lines)
    while rest:
        line, end, rest = rest.partition(b"\n")
        yield line + end


def where(pages: list[list[bytes]], index: int) -> tuple[int, int, int]:
    """File, line and number of the record with this index."""
    n = index + 1
    for number, lines in enumerate(pages, 1):
        if index < len(lines):
            return number, index + 1, n
        index -= len(lines)
    raise IndexError


def named(result: Result) -> tuple[int, int, int]:
    assert result.bad is not None
    return int(result.bad.file[:8]), result.bad.line, result.bad.n


def copied(pages: list[list[bytes]]) -> list[list[bytes]]:
    return [list(lines) for lines in pages]


# -- what is good -------------------------------------------------------------------------------------


def test_a_ledger_as_it_was_written_is_good(book: Path, pages: list[list[bytes]]) -> None:
    result = verify(book / "ledger", [head_of(book)], keys.load(book, make=False).public)
    assert result.good
    assert (result.first, result.last, result.records) == (1, sum(map(len, pages)), sum(map(len, pages)))
    assert (result.site, result.agent, result.segments) == ("acme", "one", len(pages))
    assert (result.signed, result.notes) == (result.last - 1, [])
    assert len(pages) > 3
    assert result.heads > len(pages)
    assert len(result.compared) == 1


def test_both_ways_to_check_signatures_find_the_same(book: Path) -> None:
    folder = book / "ledger"
    assert verify(folder, check=fast) == verify(folder)


def test_a_ledger_whose_beginning_was_removed_by_retention_is_good(tmp_path: Path) -> None:
    async def write() -> None:
        clock = Clock()
        with ledger(tmp_path, LedgerSettings(keep_days=10), clock=clock, segment_bytes=1000) as writer:
            for number in range(20):
                writer.record(decision(number))
                clock.now += DAY
                await writer.tick()

    asyncio.run(write())
    result = verify(tmp_path / "ledger")
    assert result.good, result.bad
    assert result.first > 1
    assert result.notes == [
        f"The segments before {int(files(tmp_path)[0].stem)} were removed by the ledger's retention."
    ]
    files(tmp_path)[0].unlink()  # and one more, which nothing says
    bad = verify(tmp_path / "ledger").bad
    assert bad is not None
    assert "no record says that" in bad.what


def sealed(before: str, body: bytes) -> bytes:
    """A record as anybody can write it: the chain needs no key."""
    digest = sha256(bytes.fromhex(before) + body).hexdigest()
    return body + b',"h":"' + digest.encode() + b'"}\n'


def appended(folder: Path, said: str) -> None:
    """One more record at the end of a ledger, by somebody without its key."""
    last = sorted(folder.glob("*.jsonl"))[-1]
    end = json.loads(last.read_bytes().splitlines()[-1])
    body = f'{{"n":{end["n"] + 1},"at":"2026-09-21T14:13:20.000000Z",{said}'
    with last.open("ab") as file:
        file.write(sealed(end["h"], body.encode()))


def test_only_a_signed_record_can_say_that_segments_were_removed(book: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(book / "ledger", tmp_path / "ledger"))
    gone, following = sorted(folder.glob("*.jsonl"))[1:3]
    first = json.loads(following.read_bytes().splitlines()[0])
    gone.unlink()
    (folder / "00000001.jsonl").unlink()
    of, hash = first["n"] - 1, first["previous"]
    appended(folder, f'"kind":"retired","segments":[1,2],"of":{of},"hash":"{hash}"')
    bad = verify(folder, [head_of(book)], keys.load(book, make=False).public).bad
    assert bad is not None
    assert "is not signed" in bad.what


@pytest.mark.parametrize(
    "said",
    [
        '"kind":"retired","segments":[],"of":1,"hash":""',
        '"kind":"retired","segments":["x"],"of":1,"hash":""',
        '"kind":"cut","file":' + "[" * 50_000 + "]" * 50_000,
    ],
)
def test_a_record_that_says_nonsense_is_named(book: Path, tmp_path: Path, said: str) -> None:
    folder = Path(shutil.copytree(book / "ledger", tmp_path / "ledger"))
    appended(folder, said)
    bad = verify(folder).bad
    assert bad is not None
    assert bad.n == verify(book / "ledger").last + 1


@pytest.mark.parametrize("at_ms", [-1, 2**63, 2**64, 10**30])
def test_a_head_of_no_moment_is_none(book: Path, tmp_path: Path, at_ms: int) -> None:
    folder = Path(shutil.copytree(book / "ledger", tmp_path / "ledger"))
    end = json.loads(sorted(folder.glob("*.jsonl"))[-1].read_bytes().splitlines()[-1])
    said = f'"kind":"head","of":{end["n"]},"hash":"{end["h"]}","at_ms":{at_ms}'
    appended(folder, f'{said},"signature":"{"A" * 86}"')
    bad = verify(folder).bad
    assert bad is not None
    assert "cannot be read" in bad.what


def test_nothing_in_a_ledger_is_obeyed_by_a_terminal(book: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(book / "ledger", tmp_path / "ledger"))
    appended(folder, '"kind":"cut","bytes":1,"after":2,"file":"\\u001b[2J\\nGOOD: all of it \\u202e"')
    said = verify_main.words(verify(folder), 1.0)
    assert all(line.isprintable() for line in said)
    assert "?[2J?GOOD: all of it ?" in said[-2]


def test_what_is_not_signed_yet_is_said(tmp_path: Path) -> None:
    async def write() -> Path:
        with ledger(tmp_path) as writer:
            for number in range(5):
                writer.record(decision(number))
            return Path(shutil.copytree(tmp_path / "ledger", tmp_path / "copy"))

    result = verify(asyncio.run(write()))
    assert result.good
    assert "not signed yet" in result.notes[0]


# -- what is not --------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_any_flip_is_found_in_its_record(pages: list[list[bytes]], data: st.DataObject) -> None:
    changed = copied(pages)
    index = data.draw(st.integers(0, sum(map(len, pages)) - 1))
    number, line, n = where(pages, index)
    target = bytearray(changed[number - 1][line - 1])
    place = data.draw(st.integers(0, len(target) - 1))
    target[place] ^= 1 << data.draw(st.integers(0, 7))
    changed[number - 1][line - 1] = bytes(target)
    result = looked_at(changed)
    assert result.bad is not None
    assert named(result)[:2] == (number, line)
    assert result.last == n - 1


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_record_that_is_missing_is_missed(pages: list[list[bytes]], data: st.DataObject) -> None:
    changed = copied(pages)
    index = data.draw(st.integers(0, sum(map(len, pages)) - 2))
    number, line, n = where(pages, index)
    del changed[number - 1][line - 1]
    result = looked_at(changed)
    assert named(result)[2] == n
    assert result.last == n - 1


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_record_that_was_added_is_named(pages: list[list[bytes]], data: st.DataObject) -> None:
    changed = copied(pages)
    total = sum(map(len, pages))
    copy, index = data.draw(st.integers(0, total - 1)), data.draw(st.integers(0, total - 1))
    assume(copy != index + 1)  # it would be the next one that is there twice
    source = where(pages, copy)
    number, line, n = where(pages, index)
    changed[number - 1].insert(line, pages[source[0] - 1][source[1] - 1])
    result = looked_at(changed)
    assert result.bad is not None
    assert (named(result)[0], result.last) == (number, n)
    assert named(result)[1] == line + 1


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_two_records_that_changed_places_are_found_at_the_first(
    pages: list[list[bytes]], data: st.DataObject
) -> None:
    changed = copied(pages)
    total = sum(map(len, pages))
    one, other = sorted(data.draw(st.lists(st.integers(0, total - 1), min_size=2, max_size=2, unique=True)))
    a, b = where(pages, one), where(pages, other)
    changed[a[0] - 1][a[1] - 1] = pages[b[0] - 1][b[1] - 1]
    changed[b[0] - 1][b[1] - 1] = pages[a[0] - 1][a[1] - 1]
    result = looked_at(changed)
    assert named(result) == a


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_end_that_is_missing_is_missed_by_who_has_kept_a_head(
    book: Path, pages: list[list[bytes]], data: st.DataObject
) -> None:
    whole = [b"".join(lines) for lines in pages]
    head = head_of(book)
    cut = data.draw(st.integers(1, sum(map(len, whole)) - 1))
    left: list[list[bytes]] = []
    for content in whole:
        if cut > 0:
            left.append(content[:cut].splitlines(keepends=True))
            cut -= len(content)
    result = looked_at(left, head)
    assert result.bad is not None
    torn = not left[-1][-1].endswith(b"\n")
    assert result.bad.what == "the line is cut off" if torn else "cut short" in result.bad.what
    assert result.bad.n == sum(map(len, left)) + (0 if torn else 1) or result.records == 0


def test_a_whole_segment_that_is_missing_is_missed(
    pages: list[list[bytes]], book: Path, tmp_path: Path
) -> None:
    for number in range(1, len(pages)):
        folder = tmp_path / str(number)
        shutil.copytree(book / "ledger", folder)
        (folder / f"{number:08d}.jsonl").unlink()
        result = verify(folder, check=fast)
        assert result.bad is not None
        assert "missing" in result.bad.what


def rewritten(pages: list[list[bytes]], index: int) -> list[list[bytes]]:
    """Somebody without the key changes a record and computes all hashes after it anew."""
    previous, seen, made = bytes(32), 0, []
    for lines in pages:
        again = []
        for line in lines:
            said = json.loads(line)
            del said["h"], said["n"], said["at"]
            if seen == index:
                said["rule"] = "another"
            if "previous" in said:
                said["previous"] = previous.hex()
            if said["kind"] == "head" and seen > index:
                said["hash"] = previous.hex()
            seen += 1
            previous, new = record.seal(previous, seen, 1_790_000_000.0, record.members(said))
            again.append(new)
        made.append(again)
    return made


def test_who_has_not_the_key_cannot_write_it_anew(pages: list[list[bytes]]) -> None:
    result = looked_at(rewritten(pages, 2))
    assert result.bad is not None
    assert "not that of the ledger's key" in result.bad.what
    first_head = next(i for i, line in enumerate(pages[0], 1) if b'"kind":"head"' in line)
    assert named(result) == (1, first_head, first_head)


def test_who_has_the_key_cannot_write_anew_what_the_relay_has_seen(book: Path, tmp_path: Path) -> None:
    head = head_of(book)
    shutil.copy(book / keys.FILE, tmp_path)
    written(tmp_path, count=20, segment_bytes=2000)
    result = verify(tmp_path / "ledger", [head], check=fast)
    assert result.bad is not None
    assert "was another one" in result.bad.what
    assert result.bad.n == head.n


def test_another_ledger_is_not_taken_for_this_one(book: Path, tmp_path: Path) -> None:
    written(tmp_path)
    for result in (
        verify(tmp_path / "ledger", [head_of(book)], check=fast),
        verify(tmp_path / "ledger", key=keys.load(book, make=False).public, check=fast),
    ):
        assert result.bad is not None
        assert "names another key" in result.bad.what


def test_an_old_copy_that_was_put_back_is_found(book: Path, tmp_path: Path) -> None:
    shutil.copytree(book, tmp_path / "state")

    async def go_on() -> None:
        with ledger(tmp_path / "state") as writer:
            writer.record(decision())

    asyncio.run(go_on())
    kept = head_of(tmp_path / "state")
    assert verify(tmp_path / "state" / "ledger", [kept], check=fast).good
    result = verify(book / "ledger", [kept], check=fast)
    assert result.bad is not None
    assert "an older copy was put in its place" in result.bad.what


# -- signatures ---------------------------------------------------------------------------------------


# RFC 8032, section 7.1: secret key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("secret", "message", "signature"), RFC_8032)
def test_signatures_are_checked_as_the_rfc_says(secret: str, message: str, signature: str) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).public_key().public_bytes_raw()
    assert check_signature(key, bytes.fromhex(signature), bytes.fromhex(message))
    assert not check_signature(key, bytes.fromhex(signature), bytes.fromhex(message) + b"x")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.data())
@settings(max_examples=25, deadline=None)
def test_the_slow_check_says_what_the_fast_one_says(
    secret: bytes, message: bytes, data: st.DataObject
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(secret)
    key, signature = private.public_key().public_bytes_raw(), bytearray(private.sign(message))
    assert check_signature(key, bytes(signature), message)
    signature[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    assert not check_signature(key, bytes(signature), message)
    assert not fast(key, bytes(signature), message)


def test_what_is_no_signature_is_none() -> None:
    assert not check_signature(b"", b"", b"")
    assert not check_signature(b"\xff" * 32, bytes(64), b"")
    assert not check_signature(bytes(32), b"\xff" * 64, b"")


# -- the program ----------------------------------------------------------------------------------------


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The file by itself, in a Python that knows nothing of Penstock."""
    program = shutil.copy(str(verify_main.__file__), folder / "verify.py")
    return subprocess.run(
        [sys.executable, "-I", "-S", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_file_alone_verifies_a_copied_folder(book: Path, tmp_path: Path) -> None:
    shutil.copytree(book / "ledger", tmp_path / "copy")
    head = head_file(head_of(book), tmp_path / "head.json")
    key = record.text(keys.load(book, make=False).public)
    done = run(tmp_path, tmp_path / "copy", "--head", head, "--key", key)
    assert (done.returncode, done.stderr) == (0, "")
    first, signed, goes_on, named_key = done.stdout.splitlines()
    assert first.startswith("GOOD: records 1 to ")
    assert "MiB/s" in first
    assert signed.startswith("Signed up to record ")
    assert goes_on.startswith("Goes on from head.json: record ")
    assert named_key == f"Key: {key}"
    machine = json.loads(run(tmp_path, tmp_path / "copy", "--json").stdout)
    assert machine["good"] is True
    assert machine["bad"] is None


def test_it_says_what_cannot_be_known_without_a_head(book: Path, tmp_path: Path) -> None:
    done = run(tmp_path, book / "ledger")
    assert done.returncode == 0
    assert "nobody can tell from the ledger alone" in done.stdout
    assert "the ledger's own word" in done.stdout


def test_it_names_the_place_and_fails(book: Path, tmp_path: Path) -> None:
    shutil.copytree(book / "ledger", tmp_path / "copy")
    path = tmp_path / "copy" / "00000002.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"bytes":5', b'"bytes":4', 1))
    done = run(tmp_path, tmp_path / "copy")
    assert done.returncode == 1
    assert done.stdout.startswith("BAD: 00000002.jsonl, line ")
    assert "it was changed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["{folder}"], "holds no ledger"),
        (["{folder}/none"], "cannot be read"),
        (["{ledger}", "--key", "abc"], "no Ed25519 key"),
        (["{ledger}", "--head", "{folder}/none"], "cannot be read"),
        (["{ledger}", "--head", "{folder}/verify.py"], "is not JSON"),
        (["{ledger}", "--head", "{folder}/empty.json"], "holds no head"),
    ],
)
def test_what_cannot_be_looked_at_is_said(book: Path, tmp_path: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "empty.json").write_text("{}")
    done = run(tmp_path, *(each.format(folder=tmp_path, ledger=book / "ledger") for each in arguments))
    assert done.returncode == 2
    assert why in done.stderr


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
    | st.dictionaries(st.sampled_from(["key", "n", "hash", "at", "signature"]), st.text() | st.integers())
)
def test_any_other_file_is_no_head(said: object) -> None:
    with pytest.raises(Unusable, match="holds no head"):
        verify_main._read_head(said, "x")


def test_a_last_line_that_is_being_written_is_waited_for(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(book / "ledger", tmp_path / "copy")
    path = sorted((tmp_path / "copy").iterdir())[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    monkeypatch.setattr(time, "sleep", lambda seconds: path.write_bytes(whole))
    assert verify(tmp_path / "copy", check=fast).good
