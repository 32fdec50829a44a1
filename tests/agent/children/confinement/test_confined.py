"""Real children under each level, as root and as a user without privileges: what they try and get."""

import os
import socket
from collections.abc import Iterator

import pytest

from penstock_agent import control
from penstock_agent.children.confinement import kernel
from tests.agent.children.kit import dead_within
from tests.harness.agent_site import Site
from tests.harness.confining import NOBODY, User, interpreter, user

KERNEL = kernel.look()
DENIED = {"EACCES", "EPERM"}

pytestmark = pytest.mark.skipif(
    not KERNEL.landlock or not KERNEL.filters, reason="needs Landlock and seccomp"
)


@pytest.fixture(params=["this user", "nobody"])
def me(request: pytest.FixtureRequest) -> Iterator[User]:
    uid = os.geteuid() if request.param == "this user" else NOBODY
    if uid != os.geteuid() and os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    if not interpreter(uid):
        pytest.skip("no Python of this version that another user may run")
    with user(uid) as made:
        yield made


@pytest.fixture
def nobody() -> Iterator[User]:
    """Of whom the kernel counts processes; it never counts root's."""
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    if not interpreter(uid):
        pytest.skip("no Python of this version that another user may run")
    with user(uid) as made:
        yield made


def test_nothing_of_the_agent_and_of_other_servers_can_be_read(me: User) -> None:
    secrets = [
        me.give(me.state / name)
        for name in (
            "identity.pem",
            "session.key",
            "challenge.key",
            "agent.json",
            "ca.pem",
            "paused.json",
            "control.token",
            "ledger/0001.log",
            "servers/other/notes.txt",
        )
    ]
    secrets += [me.give(me.folder / name) for name in ("etc/agent.toml", "run/control.token", "home/.ssh/id")]
    agent = [
        f"/proc/{os.getpid()}/{name}"
        for name in ("environ", "mem", "maps", "cmdline", "fd", "cwd/x", "root/x")
    ]
    system = [
        "/etc/shadow",
        "/root/.bashrc",
        "/var/log/syslog",
        f"/proc/{os.getpid()}/status",
        "/proc/1/environ",
    ]
    paths = [*map(str, secrets), *agent, *(path for path in system)]
    answers = me.run(
        *(["read", path] for path in paths), ["look", str(me.state)], ["look", "/proc"], ["look", "/tmp"]
    )
    found = dict(zip([*paths, "state", "/proc", "/tmp"], answers, strict=True))
    assert len(found) > 20
    assert {path: answer for path, answer in found.items() if answer not in DENIED | {"ENOENT"}} == {}
    assert all(found[str(path)] in DENIED for path in secrets)


def test_its_own_folder_can_be_written_and_the_rest_of_the_machine_cannot(me: User) -> None:
    own = me.state / "servers" / "files"
    answers = me.run(
        ["write", str(own / "notes")],
        ["read", str(own / "notes")],
        ["write", "/dev/null"],
        ["write", str(me.folder / "beside")],
        ["write", str(me.state / "beside")],
        ["write", "/tmp/penstock-planted"],
        ["write", "/usr/planted"],
    )
    assert answers[:3] == ["written", "x", "written"]
    assert set(map(str, answers[3:])) <= DENIED


def test_what_it_may_read_it_may_not_change_and_what_it_may_write_it_may(me: User) -> None:
    seen, changed = me.give(me.folder / "share/a"), me.give(me.folder / "spool/b")
    answers = me.run(
        ["read", str(seen)],
        ["write", str(seen)],
        ["write", str(seen.parent / "new")],
        ["read", str(changed)],
        ["write", str(changed)],
        ["write", str(changed.parent / "new")],
        ["look", str(seen.parent)],
        read=[str(seen.parent)],
        write=[str(changed.parent)],
    )
    assert answers == ["secret", "EACCES", "EACCES", "secret", "written", "written", ["a"]]


@pytest.mark.parametrize("abi", [1, 2, 4])
def test_an_older_landlock_holds_too(abi: int) -> None:
    with user(os.geteuid()) as me:
        key = me.give(me.state / "identity.pem")
        answers = me.run(
            ["read", str(key)],
            ["write", str(me.folder / "planted")],
            ["write", str(me.state / "servers/files/notes")],
            ["run", "/bin/true"],
            landlock=abi,
        )
        assert answers == ["EACCES", "EACCES", "written", 0]


def test_a_place_that_does_not_exist_is_said_in_words(me: User) -> None:
    (answer,) = me.run(["pair"], read=[str(me.folder / "none")])
    assert f"read names {me.folder / 'none'}, which cannot be opened: No such file" in str(answer)


def test_a_link_that_leads_to_the_agents_own_grants_nothing(me: User) -> None:
    (me.folder / "link").symlink_to(me.state)
    (answer,) = me.run(["pair"], read=[str(me.folder / "link")])
    assert "which is the agent's own" in str(answer)
    (answer,) = me.run(["pair"], read=[str(me.folder)])
    assert "which contains what is the agent's own" in str(answer)


def test_a_folder_that_it_could_have_swapped_is_refused_in_words(me: User) -> None:
    """It may rename what lies in a folder that it may write, and put a link in its place."""
    me.give(me.folder / "elsewhere/secret")
    inner = me.give(me.folder / "spool/inner/a").parent
    answers = me.run(["read", str(inner / "a")], read=[str(inner)], write=[str(inner.parent)])
    assert answers == ["secret"]
    inner.rename(inner.with_name("old"))
    inner.symlink_to(me.folder / "elsewhere")
    (answer,) = me.run(["pair"], read=[str(inner)], write=[str(inner.parent)])
    assert f"read names {inner}, and {inner} on the way there is a link in a folder that a server may" in str(
        answer
    )


def test_without_a_network_nothing_but_local_sockets_can_be_made(me: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        families = [["make_socket", family] for family in (2, 10, 38, 40)]
        raw = [["make_socket", 2, 3, 1], ["make_socket", 17, 3, 3], ["make_socket", 16, 3, 9]]
        answers = me.run(["connect", "127.0.0.1", port], *families, *raw, ["call", 425, 1, 0])
        assert answers[:-1] == ["EACCES"] * (len(answers) - 1)
        assert answers[-1] == "ENOSYS"
        answers = me.run(["pair"], ["make_socket", 1], ["make_socket", 16, 3, 0])
        assert answers == ["made", "made", "made"]
        answers = me.run(["connect", "127.0.0.1", port], isolation="process")
        assert answers == ["EACCES"]


def test_with_the_network_of_the_machine_it_connects(me: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for isolation in ("process", "landlock"):
            assert me.run(["connect", "127.0.0.1", port], network="host", isolation=isolation) == [
                "connected"
            ]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the way into the kernel of 32-bit programs")
def test_a_system_call_of_another_architecture_ends_the_process(me: User) -> None:
    (status,) = me.run(["old_call"])
    assert status in (-31, -11), "SIGSYS, or a kernel without 32-bit calls"


def test_it_can_neither_signal_nor_trace_others_nor_make_namespaces(me: User) -> None:
    answers = me.run(["strike", os.getpid()], ["trace", os.getpid()], ["call", _unshare(), 0x10000000])
    assert set(map(str, answers)) <= DENIED
    _uid, _gid, agent = _numbers(me.run(["who"])[0])
    assert agent != os.getpid()


def test_it_can_change_its_own_limits_and_priority_and_nobody_elses(me: User) -> None:
    prlimit, setpriority, affinity = (302, 141, 203) if os.uname().machine == "x86_64" else (261, 140, 122)
    others: list[list[object]] = [
        ["call", prlimit, os.getpid(), 7, 0, 0],
        ["call", setpriority, 0, os.getpid(), 5],
    ]
    others += [["call", setpriority, 2, 0, 5], ["call", affinity, os.getpid(), 0, 0]]
    own: list[list[object]] = [
        ["call", prlimit, 0, 7, 0, 0],
        ["call", setpriority, 0, 0, 5],
        ["limit", "RLIMIT_NOFILE"],
    ]
    assert me.run(*others, *own, network="host") == ["EPERM"] * 4 + [0, 0, [4096, 4096]]


def test_the_control_socket_does_not_answer_it() -> None:
    """A socket with a path can be reached; what lies beside it cannot be read."""
    with user(os.geteuid()) as me:
        site = Site(me.folder)
        with site.running(site.status()) as asked:
            path = str(site.state / control.SOCKET_NAME)
            answers = me.run(
                ["tell", path, '{"verb":"status"}'], ["read", str(site.state / control.TOKEN_NAME)]
            )
        assert "Only who can read control.token" in str(answers[0])
        assert answers[1] in DENIED
        assert asked == []


@pytest.mark.skipif(KERNEL.landlock < 6, reason="scopes are of Landlock's version 6")
def test_an_abstract_socket_of_others_is_out_of_reach(me: User) -> None:
    name = f"penstock-test-{os.getpid()}-{me.uid}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        assert me.run(["tell", "@" + name, "x"], network="host")[0] in DENIED


def test_privileges_are_gone_and_do_not_come_back(me: User) -> None:
    for isolation, network in (("landlock", "host"), ("landlock", "none"), ("process", "none")):
        (status,) = me.run(["status"], isolation=isolation, network=network)
        assert isinstance(status, dict)
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    (status,) = me.run(["status"], isolation="process", network="host")
    assert isinstance(status, dict)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "0")


def test_it_is_who_the_agent_is_and_holds_nothing_but_its_three_pipes(me: User) -> None:
    who, open_now, score = me.run(["who"], ["descriptors"], ["read", "/proc/self/oom_score_adj"])
    assert _numbers(who)[:1] == [me.uid]
    assert open_now == [0, 1, 2]
    assert score == "500\n"


def test_limits_hold(me: User) -> None:
    answers = me.run(
        ["limit", "RLIMIT_CORE"],
        ["limit", "RLIMIT_NOFILE"],
        ["limit", "RLIMIT_CPU"],
        ["limit", "RLIMIT_FSIZE"],
        ["eat", 1000],
        limits={"memory": "300MiB", "files": 99, "cpu_seconds": 77, "file_size": "5MiB"},
        isolation="process",
    )
    assert answers[:4] == [[0, 0], [99, 99], [77, 77], [5 << 20, 5 << 20]]
    assert 200 < _number(answers[4]) < 300


def test_who_takes_all_memory_ends_and_the_others_go_on(me: User) -> None:
    answers = me.run(["eat_up"], limits={"memory": "256MiB"}, others=2)
    assert "ended with status 1" in str(answers[0])
    assert answers[1:] == ["made", "made", 0]


@pytest.mark.skipif(not KERNEL.namespaces, reason="needs user namespaces, by which processes are counted")
def test_processes_are_counted_for_each_child_apart(nobody: User) -> None:
    assert nobody.run(["multiply", 400], limits={"processes": 50}, others=1) == [49, "made", 0]


@pytest.mark.skipif(not KERNEL.namespaces, reason="needs user namespaces, by which processes are counted")
def test_a_fork_bomb_is_contained_and_the_others_go_on(nobody: User) -> None:
    answers = nobody.run(["bomb", 5], ["pair"], limits={"processes": 60}, others=2)
    assert answers == ["lit", "made", "made", "made", 0]


@pytest.mark.skipif(not KERNEL.namespaces, reason="needs user namespaces, by which they are found")
def test_what_leaves_the_family_of_a_child_ends_with_it(me: User) -> None:
    answers = me.run(["leave"], ["leave"], ["leave"])
    assert all(dead_within(_number(pid), 10) for pid in answers)


def test_secrets_come_from_files_and_are_in_the_environment_of_this_child_only(me: User) -> None:
    secret = me.give(me.state / "token", "hunter2\n")
    answers = me.run(["environment"], ["read", str(secret)], env={"TOKEN": f"file:{secret}", "PLAIN": "x"})
    env = answers[0]
    assert isinstance(env, dict)
    assert (env["TOKEN"], env["PLAIN"]) == ("hunter2", "x")
    assert answers[1] in DENIED
    me.give(secret, "hunter2", 0o644)
    (answer,) = me.run(["environment"], env={"TOKEN": f"file:{secret}"})
    assert f"TOKEN in env names {secret}, which everybody may read" in str(answer)
    assert "hunter2" not in str(answer)


def test_programs_of_the_machine_run_and_those_elsewhere_do_not(me: User) -> None:
    planted = me.give(me.folder / "bin/true", "#!/bin/sh\nexit 0\n", 0o755)
    assert me.run(["run", "/bin/true"], ["run", "/bin/sh", "-c", "exit 3"], ["run", str(planted)]) == [
        0,
        3,
        113,
    ]
    (answer,) = me.run(["pair"], command=[str(planted.parent / "none")])
    assert "there is no" in str(answer)


def _unshare() -> int:
    return 272 if os.uname().machine == "x86_64" else 97


def _number(answer: object) -> int:
    assert isinstance(answer, int)
    return answer


def _numbers(answer: object) -> list[int]:
    assert isinstance(answer, list)
    return [_number(each) for each in answer]
