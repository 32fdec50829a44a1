import os
import pwd
import stat
from collections.abc import Callable
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
    assert joined.key_file == joined.certificate_file
    assert joined.key_file.read_bytes() == credentials.key + credentials.certificate
    assert joined.key().public_key() == joined.certificate.public_key()
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
    (folder / "identity.pem").chmod(mode)
    with pytest.raises(
        StateError, match=rf"identity.pem can be read by others \(mode {mode:04o}\).*chmod 600"
    ):
        state.load(folder)


def test_a_key_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "identity.pem").rename(tmp_path / "elsewhere.pem")
    (folder / "identity.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(StateError, match="not a regular file"):
        state.load(folder)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720])
def test_a_folder_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(StateError, match="can be written by others"):
        state.load(folder)
    with pytest.raises(StateError, match="can be written by others"):
        state.prepare(folder)


@pytest.mark.parametrize("name", ["identity.pem", "ca.pem"])
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
        ("identity.pem", "nothing"),
        ("ca.pem", "nothing"),
    ],
)
def test_damage_is_said_in_words(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(StateError, match="is damaged"):
        state.load(folder)


# -- renewal


def made_by_the_first_version(folder: Path, credentials: Credentials) -> None:
    """Key and certificate in files of their own."""
    (folder / "identity.pem").unlink()
    for name, data in (("key.pem", credentials.key), ("cert.pem", credentials.certificate)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(data)


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[bytes, bytes, bytes]:
    """Another key, its certificate, and the CA, as PEM."""
    ca = Authority(tmp_path / "later")
    made = ca.agent()
    return made.key.read_bytes(), made.chain.read_bytes(), ca.ca.read_bytes()


def test_a_folder_of_the_first_version_is_read(folder: Path, credentials: Credentials) -> None:
    before = state.load(folder)
    made_by_the_first_version(folder, credentials)
    joined = state.load(folder)
    assert joined.certificate == before.certificate
    assert (joined.key_file.name, joined.certificate_file.name) == ("key.pem", "cert.pem")
    assert joined.key().public_key() == joined.certificate.public_key()


@pytest.mark.parametrize("first_version", [False, True])
def test_a_renewed_pair_takes_the_place_of_the_old_one(
    folder: Path, credentials: Credentials, fresh: tuple[bytes, bytes, bytes], first_version: bool
) -> None:
    if first_version:
        made_by_the_first_version(folder, credentials)
    before = state.load(folder)
    after = state.renew(before, *fresh)
    assert after.certificate != before.certificate
    assert after == state.load(folder)
    assert after.key().public_key() == after.certificate.public_key()
    assert (after.id, after.instance, after.relay_url) == (before.id, before.instance, before.relay_url)
    assert sorted(p.name for p in folder.iterdir()) == ["agent.json", "ca.pem", "identity.pem"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("first_version", [False, True])
@pytest.mark.parametrize("crash_at", [0, 1, 2, 3])
def test_a_crash_at_any_point_leaves_a_whole_pair(
    folder: Path,
    credentials: Credentials,
    fresh: tuple[bytes, bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
    first_version: bool,
    crash_at: int,
) -> None:
    if first_version:
        made_by_the_first_version(folder, credentials)
    before = state.load(folder)
    steps = 0

    class Crash(BaseException):
        pass

    def counted(do: Callable[..., None]) -> Callable[..., None]:
        def step(*args: object, **more: object) -> None:
            nonlocal steps
            if steps == crash_at:
                raise Crash
            steps += 1
            do(*args, **more)

        return step

    monkeypatch.setattr(state, "write_atomic", counted(files.write_atomic))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    with pytest.raises(Crash):
        state.renew(before, *fresh)
    monkeypatch.undo()
    joined = state.load(folder)
    assert joined.key().public_key() == joined.certificate.public_key()
    assert (joined.certificate == before.certificate) == (crash_at < 2), "new once identity.pem is there"


def test_a_renewal_that_cannot_be_written_keeps_the_old_pair(
    folder: Path, fresh: tuple[bytes, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state.load(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "write_atomic", full)
    with pytest.raises(StateError, match=r"No space left.*old certificate is still in use"):
        state.renew(before, *fresh)
    assert state.load(folder) == before


def test_renewed_files_keep_their_owner(
    folder: Path, fresh: tuple[bytes, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[object] = []
    write = files.write_atomic

    def record(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        owners.append(owner)
        write(path, data, mode, owner)

    monkeypatch.setattr(state, "write_atomic", record)
    info = (folder / "identity.pem").stat()
    state.renew(state.load(folder), *fresh)
    assert owners == [(info.st_uid, info.st_gid)] * 2


def test_a_key_of_another_certificate_is_said_in_words(
    folder: Path, fresh: tuple[bytes, bytes, bytes]
) -> None:
    path = folder / "identity.pem"
    path.write_bytes(fresh[0] + path.read_bytes().split(b"-----END PRIVATE KEY-----\n")[1])
    with pytest.raises(StateError, match="does not hold the key of the certificate"):
        state.load(folder).key()


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
    assert changed == [(991, 992)] * 3


def test_others_keep_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert state.prepare(tmp_path / "state") is None


def test_a_key_of_challenges_is_made_once(tmp_path: Path) -> None:
    key = state.challenge_key(tmp_path, None)
    assert len(key) == 32
    assert state.challenge_key(tmp_path, None) == key
    assert (tmp_path / "challenge.key").stat().st_mode & 0o777 == 0o600


def test_the_key_of_sessions_is_made_once_and_is_another(tmp_path: Path) -> None:
    key = state.session_key(tmp_path)
    assert (len(key), state.session_key(tmp_path)) == (32, key)
    assert key != state.challenge_key(tmp_path, None)
    assert (tmp_path / "session.key").stat().st_mode & 0o777 == 0o600


def test_agents_of_a_site_can_share_a_key_of_challenges(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with pytest.raises(StateError, match="cannot be used"):
        state.challenge_key(tmp_path, shared)
    shared.write_bytes(b"s" * 31)
    with pytest.raises(StateError, match="openssl rand 32"):
        state.challenge_key(tmp_path, shared)
    shared.write_bytes(b"s" * 32)
    assert state.challenge_key(tmp_path, shared) == b"s" * 32
