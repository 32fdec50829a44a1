import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock.names import AgentId
from penstock_agent import files, state
from penstock_agent.state import Credentials, NotJoined, StateError
from tests.harness.certs import Authority

ID = AgentId("plant", "a1")


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    ca = Authority(tmp_path / "made")
    made = ca.agent()
    return Credentials(
        "wss://relay:443", ID, made.key.read_bytes(), made.chain.read_bytes(), ca.ca.read_bytes()
    )


@pytest.fixture
def folder(tmp_path: Path, credentials: Credentials) -> Path:
    path = tmp_path / "state"
    state.store(path, credentials, state.prepare(path))
    return path


def test_what_is_stored_is_loaded(folder: Path, credentials: Credentials) -> None:
    joined = state.load(folder)
    assert (joined.relay_url, joined.id) == ("wss://relay:443", ID)
    assert joined.key_file.read_bytes() == credentials.key
    assert joined.certificate_file.read_bytes() == credentials.certificate
    assert joined.ca_file.read_bytes() == credentials.ca
    assert joined.expires == joined.certificate.not_valid_after_utc
    assert len(bytes.fromhex(joined.instance)) == 16


def test_each_enrolment_is_another_instance(tmp_path: Path, credentials: Credentials) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    instances = {state.store(f, credentials, state.prepare(f)).instance for f in folders}
    assert len(instances) == 2


def test_every_file_is_for_the_owner_only_whatever_the_umask(
    tmp_path: Path, credentials: Credentials
) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "open"
        state.store(path, credentials, state.prepare(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in path.iterdir()} == {0o600}


def test_agent_json_is_written_last(
    tmp_path: Path, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    write = files.write_atomic

    def record(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        order.append(path.name)
        write(path, data, mode, owner)

    monkeypatch.setattr(state, "write_atomic", record)
    state.store(tmp_path, credentials, None)
    assert order[-1] == "agent.json"


def test_a_folder_without_agent_json_has_not_joined_whatever_else_is_there(folder: Path) -> None:
    (folder / "agent.json").unlink()
    with pytest.raises(NotJoined, match=r"has not joined a site yet.*penstock-agent join JOIN_STRING"):
        state.load(folder)


def test_a_folder_that_does_not_exist_has_not_joined(tmp_path: Path) -> None:
    with pytest.raises(NotJoined):
        state.load(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "key.pem").chmod(mode)
    with pytest.raises(StateError, match=rf"key.pem can be read by others \(mode {mode:04o}\).*chmod 600"):
        state.load(folder)


def test_a_key_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "key.pem").rename(tmp_path / "elsewhere.pem")
    (folder / "key.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(StateError, match="not a regular file"):
        state.load(folder)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720])
def test_a_folder_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(StateError, match="can be written by others"):
        state.load(folder)
    with pytest.raises(StateError, match="can be written by others"):
        state.prepare(folder)


@pytest.mark.parametrize("name", ["key.pem", "cert.pem", "ca.pem"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StateError, match=f"{name} is missing"):
        state.load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("agent.json", "{"),
        ("agent.json", '{"relay_url":"x","site":"BAD","agent":"a","instance":"x"}'),
        ("agent.json", '{"relay_url":"x","site":"a"}'),
        ("cert.pem", "nothing"),
        ("ca.pem", "nothing"),
    ],
)
def test_damage_is_said_in_words(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(StateError, match="is damaged"):
        state.load(folder)


def test_the_key_is_not_in_the_repr(credentials: Credentials) -> None:
    assert "PRIVATE" not in repr(credentials)
    assert ID.uri in repr(credentials)


def test_prepare_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    state.prepare(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_root_hands_folder_and_files_to_the_service_user(
    tmp_path: Path, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Recorded, not done: a test may not need root.
    owners: dict[str, tuple[int, int]] = {}
    changed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=991, pw_gid=992))
    monkeypatch.setattr(os, "chown", lambda path, u, g, **_: owners.update({Path(path).name: (u, g)}))
    monkeypatch.setattr(os, "fchown", lambda _fd, u, g: changed.append((u, g)))
    owner = state.prepare(tmp_path / "state")
    assert owner == (991, 992)
    assert owners == {"state": (991, 992)}
    state.store(tmp_path / "state", credentials, owner)
    assert changed == [(991, 992)] * 4


def test_others_keep_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert state.prepare(tmp_path / "state") is None


def test_a_key_of_challenges_is_made_once(tmp_path: Path) -> None:
    key = state.challenge_key(tmp_path, None)
    assert len(key) == 32
    assert state.challenge_key(tmp_path, None) == key
    assert (tmp_path / "challenge.key").stat().st_mode & 0o777 == 0o600


def test_agents_of_a_site_can_share_a_key_of_challenges(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with pytest.raises(StateError, match="cannot be used"):
        state.challenge_key(tmp_path, shared)
    shared.write_bytes(b"s" * 31)
    with pytest.raises(StateError, match="openssl rand 32"):
        state.challenge_key(tmp_path, shared)
    shared.write_bytes(b"s" * 32)
    assert state.challenge_key(tmp_path, shared) == b"s" * 32
