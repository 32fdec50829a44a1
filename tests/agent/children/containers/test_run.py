from __future__ import annotations

from pathlib import Path

from penstock_agent.children.confinement.limits import Limits
from penstock_agent.children.containers.run import Container, Here, Mount, environment, in_words, words

IMAGE = "docker.io/mcp/fetch@sha256:" + "0f" * 32
CONTAINER = Container(
    IMAGE,
    "4a",
    (Mount(Path("/srv/in"), Path("/data"), False), Mount(Path("/srv/out"), Path("/srv/out"), True)),
)
ROOTLESS = Here(1001, 1002, True, frozenset({"memory", "pids"}), {"nofile": 1024}, True, "7-99", 500)


def built(
    here: Here = ROOTLESS, *, network: bool = False, limits: Limits | None = None, **env: str
) -> list[str]:
    return words(
        "/usr/bin/podman",
        CONTAINER,
        here,
        server="fetch",
        name="penstock-fetch-1",
        command=["--root", "/data"],
        env=env,
        folder=Path("/state/servers/fetch"),
        network=network,
        limits=limits or Limits(),
    )


def test_it_is_closed_but_for_what_is_declared() -> None:
    assert built(TOKEN="hunter2", LANG="C") == [
        *("/usr/bin/podman", "run", "--rm", "--interactive", "--pull=never", "--log-driver=none"),
        "--name=penstock-fetch-1",
        *("--label=io.penstock.agent=4a", "--label=io.penstock.server=fetch", "--label=io.penstock.by=7-99"),
        *("--network=none", "--userns=keep-id", "--user=1001:1002"),
        *("--cap-drop=all", "--security-opt=no-new-privileges", "--oom-score-adj=500"),
        *("--read-only", "--read-only-tmpfs=false", "--image-volume=tmpfs"),
        "--tmpfs=/tmp:rw,nosuid,nodev,notmpcopyup,mode=1777,size=256m",
        "--tmpfs=/var/tmp:rw,nosuid,nodev,notmpcopyup,mode=1777,size=256m",
        "--http-proxy=false",
        *("--memory=4294967296", "--memory-swap=4294967296", "--pids-limit=512"),
        *("--ulimit=core=0:0", "--ulimit=data=4294967296:4294967296", "--ulimit=nofile=1024:1024"),
        "--ulimit=nproc=512:512",
        "--mount=type=bind,source=/state/servers/fetch,target=/home/penstock,relabel=private",
        "--mount=type=bind,source=/srv/in,target=/data,readonly",
        "--mount=type=bind,source=/srv/out,target=/srv/out",
        *("--env=HOME=/home/penstock", "--env=TOKEN", "--env=LANG=C"),
        *(IMAGE, "--root", "/data"),
    ]


def test_the_network_of_the_machine_is_given_where_it_is_asked_for() -> None:
    assert "--network=host" in built(network=True)
    assert "--network=none" not in built(network=True)


def test_root_has_no_user_namespace_and_no_count_of_processes() -> None:
    found = built(Here(0, 0, False, counts=False))
    assert "--user=0:0" in found
    assert not any(word.startswith(("--userns", "--memory", "--pids-limit")) for word in found)
    assert "--ulimit=nproc=4096:4096" in found


def test_without_a_limit_that_of_the_machine_holds() -> None:
    found = built(limits=Limits(memory=None, processes=None, files=None))
    assert "--pids-limit=-1" in found
    assert "--ulimit=nofile=1024:1024" in found
    assert not any(word.startswith(("--memory", "--ulimit=data", "--ulimit=nproc")) for word in found)


def test_values_go_by_podman_s_environment_but_for_what_it_would_heed_itself() -> None:
    own = {"PATH": "/usr/bin", "HOME": "/home/agent"}
    declared = {"TOKEN": "hunter2", "PATH": "/evil", "LD_PRELOAD": "/evil.so", "CONTAINERS_CONF": "/evil"}
    assert environment(own, declared) == {"TOKEN": "hunter2", **own}
    assert [name for name in declared if in_words(name)] == ["PATH", "LD_PRELOAD", "CONTAINERS_CONF"]


def test_a_home_that_is_declared_is_the_one_that_it_gets() -> None:
    assert [word for word in built(HOME="/root") if "HOME" in word] == ["--env=HOME=/root"]
