import os
import subprocess
from collections.abc import Iterator

import pytest

from penstock_agent.children.confinement.kernel import Kernel, look


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    look.cache_clear()
    yield
    look.cache_clear()


def answering(monkeypatch: pytest.MonkeyPatch, output: bytes | Exception) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        if isinstance(output, Exception):
            raise output
        return subprocess.CompletedProcess((), 0, output)

    monkeypatch.setattr(subprocess, "run", run)


def test_the_launcher_says_what_works_here() -> None:
    found = look()
    assert found.machine == os.uname().machine
    assert found.landlock >= 0
    assert look() is found


@pytest.mark.parametrize(
    ("output", "expected"), [(b"4 1 1 0\n", (4, True, True, False)), (b"0 0 0 0\n", (0, False, False, False))]
)
def test_its_answer_is_read(
    output: bytes, expected: tuple[int, bool, bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, output)
    found = look()
    assert (found.landlock, found.seccomp, found.namespaces, found.networks) == expected


@pytest.mark.parametrize("output", [b"", b"x y z u", b"1 1 1", OSError(), subprocess.TimeoutExpired((), 1)])
def test_where_it_says_nothing_there_is_nothing(
    output: bytes | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, output)
    assert look() == Kernel(machine=os.uname().machine)


@pytest.mark.parametrize(
    ("release", "uid", "counts"),
    [
        ("5.14.0-1", 1, True),
        ("6.1.0", 1, True),
        ("5.10.0-30-amd64", 1, False),
        ("6.1", 0, False),
        ("x", 1, False),
    ],
)
def test_processes_are_counted_per_namespace_since_5_14_and_never_roots(
    release: str, uid: int, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, b"1 1 1 1\n")
    name = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*name[:2], release, *name[3:])))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert look().counts is counts


def test_filters_need_a_machine_whose_numbers_are_known() -> None:
    assert Kernel(seccomp=True, machine="aarch64").filters
    assert not Kernel(seccomp=True, machine="riscv64").filters
    assert not Kernel(machine="x86_64").filters
