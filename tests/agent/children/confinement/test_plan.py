import errno
import os
from pathlib import Path

import pytest

from penstock_agent.children.confinement import rights
from penstock_agent.children.confinement.kernel import Kernel
from penstock_agent.children.confinement.limits import Limits
from penstock_agent.children.confinement.plan import (
    CannotConfine,
    Confinement,
    Level,
    decide,
    likely,
    steps,
)
from penstock_agent.children.launcher_main import open_place

FULL = Kernel(landlock=7, seccomp=True, namespaces=True, networks=True, counts=True, machine="x86_64")
OLD = Kernel(machine="x86_64", seccomp=True)


def words(
    confinement: Confinement, kernel: Kernel = FULL, command: tuple[str, ...] = ("no-such",)
) -> list[str]:
    """The first word of each step."""
    return [
        step.partition(" ")[0] for step in steps(confinement, kernel, command, {}, Path("/state/servers/x"))
    ]


def placed(confinement: Confinement, kernel: Kernel = FULL) -> dict[str, tuple[int, str]]:
    """Place -> rights, and the setting that names it."""
    found = {}
    for step in steps(confinement, kernel, ("no-such",), {}, Path("/state/servers/x")):
        if step.startswith("place "):
            _, allowed, setting, path = step.split(" ", 3)
            found[path] = (int(allowed), setting)
    return found


def test_the_best_level_is_taken_where_none_is_asked_for() -> None:
    assert decide(None, FULL, network=False).level is Level.LANDLOCK
    assert decide(None, OLD, network=False).level is Level.PROCESS
    assert decide(Level.PROCESS, FULL, network=False).level is Level.PROCESS


def test_a_level_that_was_asked_for_and_cannot_be_had_is_refused_with_the_next_step() -> None:
    with pytest.raises(CannotConfine, match=r"no Landlock.*Linux 5.13.*SystemCallFilter=.*\"process\""):
        decide(Level.LANDLOCK, OLD, network=True)


@pytest.mark.parametrize("kernel", [Kernel(machine="x86_64"), Kernel(machine="riscv64", seccomp=True)])
def test_no_network_without_a_filter_is_refused_with_the_next_step(kernel: Kernel) -> None:
    with pytest.raises(CannotConfine, match=r"network = \"none\" cannot be had.*Or write \"host\""):
        decide(None, kernel, network=False)
    assert decide(None, kernel, network=True).level is Level.PROCESS


def test_steps_stand_in_an_order_that_works() -> None:
    """Namespaces before the limit of processes in them; nothing after the filter; places within the rules."""
    found = words(Confinement(Level.LANDLOCK, network=False))
    unique = list(dict.fromkeys(found))
    assert unique == [
        "namespace",
        "limit",
        "oom",
        "no_new_privileges",
        "no_capabilities",
        "rules",
        "place",
        "restrict",
        "filter",
    ]


def test_the_level_process_with_the_network_has_limits_and_no_new_privileges_only() -> None:
    assert set(words(Confinement(), OLD)) == {"limit", "oom", "no_new_privileges"}
    assert "filter" not in words(Confinement())
    assert words(Confinement(network=False))[-1] == "filter"


def test_root_gets_a_namespace_for_the_network_only() -> None:
    root = Kernel(landlock=7, seccomp=True, namespaces=True, networks=True, counts=False, machine="x86_64")
    assert "namespace" not in words(Confinement(), root)
    assert "namespace" in words(Confinement(network=False), root)
    shared = steps(Confinement(network=False), root, ("no-such",), {}, Path("/s"))
    assert "limit 6 4096" in shared
    without = Kernel(landlock=7, seccomp=True, namespaces=True, counts=True, machine="x86_64")
    assert "namespace 0" in steps(Confinement(network=False), without, ("no-such",), {}, Path("/s"))
    assert "limit 6 512" in steps(Confinement(network=False), FULL, ("no-such",), {}, Path("/s"))


def test_read_may_be_run_and_write_may_be_changed() -> None:
    found = placed(Confinement(Level.LANDLOCK, True, (Path("/srv/a b"),), (Path("/srv/w"),)))
    assert found["/srv/a b"] == (rights.READ, "read")
    assert found["/srv/w"] == (rights.READ | rights.write(7), "write")
    assert found["/state/servers/x"] == (rights.READ | rights.write(7), "folder")
    assert found["/usr"] == (rights.READ, "-")
    assert found["/dev/null"] == (rights.DEVICE, "-")
    assert "/proc/self" in found


def test_an_older_kernel_is_asked_for_nothing_that_it_does_not_know() -> None:
    kernel = Kernel(landlock=1, seccomp=True, machine="x86_64")
    confinement = Confinement(Level.LANDLOCK, False, (Path("/srv"),))
    assert "rules 8191 0 0" in steps(confinement, kernel, ("no-such",), {}, Path("/s"))
    assert all(allowed & ~0x1FFF == 0 for allowed, _ in placed(confinement, kernel).values())


def test_what_is_hidden_is_not_granted_even_where_it_lies_in_what_all_see() -> None:
    found = placed(Confinement(Level.LANDLOCK, hidden=(Path("/usr/lib"),)))
    assert "/usr" not in found
    assert "/usr/lib" not in found
    assert "/usr/bin" in found


@pytest.mark.parametrize(
    ("read", "write"), [("/state", ""), ("/state/servers/y", ""), ("", "/"), ("", "/state/k")]
)
def test_what_is_hidden_is_refused_where_the_settings_name_it(read: str, write: str) -> None:
    places = [(Path(each),) if each else () for each in (read, write)]
    confinement = Confinement(Level.LANDLOCK, True, places[0], places[1], (Path("/state"),))
    with pytest.raises(CannotConfine, match="the agent's own"):
        steps(confinement, FULL, ("no-such",), {}, Path("/state/servers/x"))


def test_a_link_that_another_server_could_have_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/link").symlink_to("/usr")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    for path in ("theirs/link", "theirs/link/bin", "ours/link"):
        asked = Confinement(Level.LANDLOCK, read=(tmp_path / path,), changing=(tmp_path / "theirs",))
        with pytest.raises(CannotConfine, match="a link in a folder that a server may write"):
            steps(asked, FULL, ("no-such",), {}, Path("/s"))
        alone = Confinement(Level.LANDLOCK, read=(tmp_path / path,))
        assert any(
            step.endswith("/usr") or "/usr/bin" in step for step in steps(alone, FULL, ("x",), {}, Path("/s"))
        )
    fine = Confinement(Level.LANDLOCK, read=(tmp_path / "ours",), changing=(tmp_path / "theirs",))
    assert str(tmp_path / "theirs") in placed(fine)


def test_the_launcher_follows_no_link_to_a_place_that_the_settings_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for path in (tmp_path / "link", tmp_path / "link" / "."):
        os.close(open_place(str(path), follow=True))
    os.close(open_place(str(tmp_path / "real"), follow=False))
    with pytest.raises(OSError, match=str(errno.ELOOP)):
        open_place(str(tmp_path / "link"), follow=False)
    with pytest.raises(FileNotFoundError):
        open_place(str(tmp_path / "none"), follow=False)


def test_levels_and_networks_have_words() -> None:
    assert Confinement(Level.LANDLOCK, network=False).words(FULL) == (
        "landlock (ABI 7)",
        "none (seccomp, network namespace)",
    )
    assert Confinement(Level.PROCESS, network=False).words(OLD) == ("process", "none (seccomp)")
    assert Confinement().words(OLD) == ("process", "host")


def test_what_downloads_its_program_and_has_no_network_is_the_likely_cause() -> None:
    assert "npx downloads what it runs" in likely(False, ("/usr/bin/npx", "-y", "x"))
    assert 'network = "host"' in likely(False, ("uvx", "x"))
    assert likely(True, ("npx",)) == likely(False, ("node",)) == likely(False, ()) == ""


def test_limits_reach_the_launcher() -> None:
    found = steps(Confinement(limits=Limits(files=99)), FULL, ("no-such",), {}, Path("/s"))
    assert "limit 7 99" in found
