import os
from pathlib import Path

import pytest

from penstock_agent import asuser
from penstock_agent.problem import Exit, Problem

#: What the child process did to its identity; filled behind the fork, so seen only by what runs there.
CALLS: list[tuple[object, ...]] = []


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of another user, seen by root. Recorded, not done: a test may not need root."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12346)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *args, name=name: CALLS.append((name, *args)))
    return tmp_path


def test_root_does_it_in_a_process_of_the_folders_user(theirs: Path) -> None:
    def work() -> bytes:
        return repr((os.getpid(), CALLS)).encode()

    info = theirs.stat()
    uid, gid = info.st_uid, info.st_gid
    pid, calls = eval(asuser.call(work, theirs))
    assert pid != os.getpid()
    # The order matters: without the user id there is no right left to change the groups.
    assert calls == [("setgroups", [gid]), ("setresgid", gid, gid, gid), ("setresuid", uid, uid, uid)]


def test_others_do_it_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert asuser.call(lambda: str(os.getpid()).encode(), tmp_path) == str(os.getpid()).encode()


@pytest.mark.parametrize(("status", "seen"), [(Exit.USAGE, Exit.USAGE), (Exit.REFUSED, Exit.FAILED)])
def test_a_problem_comes_back_in_its_words(theirs: Path, status: Exit, seen: Exit) -> None:
    def work() -> bytes:
        raise Problem("no such program", status)

    with pytest.raises(Problem, match="no such program") as caught:
        asuser.call(work, theirs)
    assert caught.value.status is seen


def test_an_unexpected_end_is_said_in_words(theirs: Path) -> None:
    with pytest.raises(Problem, match="as the user of the agent failed"):
        asuser.call(lambda: os._exit(1), theirs)


def test_an_interrupt_there_is_one_here(theirs: Path) -> None:
    def work() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asuser.call(work, theirs)


def test_a_large_answer_comes_whole(theirs: Path) -> None:
    assert asuser.call(lambda: b"x" * 3_000_000, theirs) == b"x" * 3_000_000
