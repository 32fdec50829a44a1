"""Secrets at rest: what a master key may look like, and what it opens."""

import base64
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay import sealed
from penstock_relay.sealed import MAX_KEYS, PLAIN, PREFIX, Keyring, SealError

KEY, OTHER = bytes(range(32)), bytes(range(100, 132))
RING = Keyring([KEY])


def key_file(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "master.key"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def read(folder: Path, data: bytes, mode: int = 0o600) -> Keyring:
    return sealed.read(key_file(folder, data, mode), folder / "state")


# -- sealing ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=500), st.text(max_size=40))
def test_what_is_sealed_opens(secret: bytes, purpose: str) -> None:
    kept = RING.seal(purpose, secret)
    assert kept.startswith(PREFIX)
    assert kept.isascii()
    assert b"\n" not in kept
    assert RING.open(purpose, kept) == secret
    assert RING.fresh(kept)


def test_the_same_secret_looks_different_each_time() -> None:
    assert RING.seal("x", b"secret") != RING.seal("x", b"secret")


def test_it_opens_for_its_purpose_only() -> None:
    kept = RING.seal("seal key", b"secret")
    with pytest.raises(SealError, match=r"\(ca key\) is damaged, or was sealed for something else"):
        RING.open("ca key", kept)


@given(st.data())
def test_a_changed_byte_opens_nothing(data: st.DataObject) -> None:
    kept = bytearray(RING.seal("x", b"secret"))
    at = data.draw(st.integers(len(PREFIX), len(kept) - 1))
    kept[at] = data.draw(st.sampled_from([b for b in range(256) if b != kept[at]]))
    with suppress(SealError):
        # White space at the end, and bits of base64 that mean nothing, change nothing.
        assert RING.open("x", bytes(kept)) == b"secret"


@pytest.mark.parametrize(
    "kept", [PREFIX, PREFIX + b".", PREFIX + b"\xff.", PREFIX + RING.id.encode() + b".AA"]
)
def test_what_is_cut_off_opens_nothing(kept: bytes) -> None:
    with pytest.raises(SealError):
        RING.open("x", kept)


def test_another_key_opens_nothing_and_says_which_is_needed(tmp_path: Path) -> None:
    kept = RING.seal("x", b"secret")
    with pytest.raises(SealError, match=rf"sealed with the master key {RING.id}; master_key_file holds"):
        Keyring([OTHER]).open("x", kept)
    with pytest.raises(SealError, match=rf"sealed with the master key {RING.id}, and master_key_file is not"):
        PLAIN.open("x", kept)


def test_a_key_id_that_is_none_is_not_repeated() -> None:
    for name in (b"x" * 17, b"a\x1b[2J"):
        with pytest.raises(SealError, match=r"with the master key \?"):
            RING.open("x", PREFIX + name + b".AAAA")


def test_an_older_key_opens_and_the_first_one_seals() -> None:
    both = Keyring([OTHER, KEY])
    kept = RING.seal("x", b"secret")
    assert both.open("x", kept) == b"secret"
    assert not both.fresh(kept)
    again = both.seal("x", b"secret")
    assert both.fresh(again)
    assert Keyring([OTHER]).open("x", again) == b"secret"


def test_without_a_master_key_secrets_stay_plain() -> None:
    assert PLAIN.seal("x", b"secret") == b"secret"
    assert PLAIN.fresh(b"secret")
    assert PLAIN.passwords("x") == (None,)
    assert RING.open("x", b"plain") == b"plain"
    assert not RING.fresh(b"plain")


def test_purposes_have_passwords_of_their_own() -> None:
    mine, none = RING.passwords("x")
    assert none is None
    assert (mine, none) == RING.passwords("x")
    assert mine not in (*RING.passwords("y"), *Keyring([OTHER]).passwords("x"))
    # The one to write with comes first, and older ones still open.
    assert Keyring([OTHER, KEY]).passwords("x") == (*Keyring([OTHER]).passwords("x")[:1], mine, None)


def test_a_keyring_shows_no_key() -> None:
    assert repr(RING) == f"Keyring({RING.id})"
    assert len(RING.id) == 8
    assert KEY.hex()[:8] not in repr(RING)


# -- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        KEY,
        base64.b64encode(KEY),
        base64.b64encode(KEY) + b"\n",
        KEY.hex().encode(),
        KEY.hex().upper().encode(),
    ],
    ids=["raw", "base64", "as openssl writes it", "hex", "capitals"],
)
def test_a_key_may_be_written_in_three_ways(data: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, data).id == RING.id


def test_further_lines_are_older_keys(tmp_path: Path) -> None:
    ring = read(tmp_path, base64.b64encode(OTHER) + b"\n" + KEY.hex().encode() + b"\n\n")
    assert ring.id == Keyring([OTHER]).id
    assert ring.open("x", RING.seal("x", b"secret")) == b"secret"


def test_as_many_keys_as_are_allowed_are_read(tmp_path: Path) -> None:
    ring = read(tmp_path, b"\n".join(base64.b64encode(bytes(range(n, n + 32))) for n in range(MAX_KEYS)))
    assert ring.id == RING.id
    assert len(ring.passwords("x")) == MAX_KEYS + 1


def test_no_file_is_no_key(tmp_path: Path) -> None:
    assert sealed.read(None, tmp_path) is PLAIN


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"correct horse battery staple", "passphrase is not accepted"),
        (b"a passphrase of 32 characters ok", "passphrase is not accepted"),
        (b"pass-phrase-of-32-characters-ok!", "passphrase is not accepted"),
        (base64.b64encode(KEY[:31]), "passphrase is not accepted"),
        (base64.b64encode(KEY + b"x"), "passphrase is not accepted"),
        (KEY[:31], "passphrase is not accepted"),
        (base64.b64encode(KEY)[:40] + b"!!!!" + base64.b64encode(KEY)[40:], "passphrase is not accepted"),
        (b"zz" * 32, "passphrase is not accepted"),
        (bytes(32), "not random"),
        (base64.b64encode(b"\x01\x02" * 16), "not random"),
        (b"\n".join(base64.b64encode(os.urandom(32)) for _ in range(MAX_KEYS + 1)), "more than 8 keys"),
        (b"A" * 5000, "too long"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(data: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(SealError, match=why) as caught:
        read(tmp_path, data)
    if data.strip():
        assert data.strip()[:20].decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620])
def test_a_key_that_others_may_read_or_write_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(SealError, match=rf"mode {mode:04o}\)\. Run: chmod 640"):
        read(tmp_path, KEY, mode)
    assert read(tmp_path, KEY, 0o640).id == RING.id


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SealError, match=r"nothing\) cannot be read: No such file.*openssl rand -base64 32"):
        sealed.read(tmp_path / "nothing", tmp_path / "state")


def test_a_key_beside_what_it_seals_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    inside = key_file(state, KEY)
    link = tmp_path / "link"
    link.symlink_to(inside)
    for path in (inside, link):
        with pytest.raises(SealError, match="inside state_dir"):
            sealed.read(path, state)


# -- a secret in a file -------------------------------------------------------------------------------------


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    made = sealed.keep(path, "seal key", RING, lambda: b"first")
    assert made == sealed.keep(path, "seal key", RING, lambda: b"second") == b"first"
    assert b"first" not in path.read_bytes()
    before = path.stat()
    sealed.keep(path, "seal key", RING, lambda: b"third")
    assert path.stat().st_ino == before.st_ino, "it is not written again and again"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_plain_secret_is_sealed_and_an_old_seal_renewed(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    assert sealed.keep(path, "seal key", PLAIN, lambda: KEY) == KEY
    assert path.read_bytes() == KEY
    assert sealed.keep(path, "seal key", RING, lambda: OTHER) == KEY
    assert path.read_bytes().startswith(PREFIX)
    both = Keyring([OTHER, KEY])
    assert sealed.keep(path, "seal key", both, lambda: OTHER) == KEY
    assert sealed.keep(path, "seal key", Keyring([OTHER]), lambda: OTHER) == KEY
    with pytest.raises(SealError):
        sealed.keep(path, "seal key", RING, lambda: OTHER)
