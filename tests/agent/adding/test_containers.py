"""Lines of docker run: what is taken over, and what is refused with the word that is not understood."""

from __future__ import annotations

import shlex

import pytest

from penstock_agent.adding.containers import parse
from penstock_agent.adding.convert import Proposal, convert
from penstock_agent.adding.documents import Entry
from penstock_agent.adding.placeholders import Refused, World

DIGEST = "sha256:" + "0f" * 32
HERE = World("/home/anna", fixed=lambda image: f"docker.io/{image.partition(':')[0]}@{DIGEST}")


def of(line: str, world: World = HERE, **env: str) -> Proposal:
    command, *args = shlex.split(line)
    return convert(Entry("box", {"command": command, "args": args, "env": env}), world)


def test_a_usual_line_is_taken_over() -> None:
    made = of(
        "docker run -i --rm --init --pull=always --name gh -e TOKEN -e MODE=fast --mount "
        "type=bind,src=/home/anna/in,dst=/data/in,ro -v /srv/out:/srv/out mcp/github:1.2 --read /data",
        TOKEN="ghp_secret",
        OF_DOCKER="x",
    )
    assert made.refused == ""
    assert made.image == f"docker.io/mcp/github@{DIGEST}"
    assert made.command == ("--read", "/data")
    assert made.env == {"TOKEN": "ghp_secret", "MODE": "fast"}
    assert made.secret == {"TOKEN"}
    assert (made.read, made.write) == (("/home/anna/in",), ("/srv/out",))
    assert made.mounts == {"/home/anna/in": "/data/in"}
    assert made.shown == f"docker.io/mcp/github@{DIGEST} --read /data"
    assert made.fetches == ""


def test_a_variable_that_only_the_host_has_is_asked_for() -> None:
    made = of("docker run -i -e TOKEN mcp/github")
    assert [asked.name for asked in made.asked] == ["TOKEN"]


def test_an_image_that_is_not_here_is_refused_with_the_lines_to_write() -> None:
    made = of("docker run -i --rm mcp/github:1.2 --x", World("/home/anna"))
    assert "podman pull -q docker.io/mcp/github:1.2 && podman image inspect" in made.refused
    assert made.refused.endswith("penstock-agent servers add box --image IMAGE@sha256:… -- --x")


def test_an_image_with_a_digest_needs_not_be_here() -> None:
    assert of(f"podman run -i mcp/github:1@{DIGEST}", World("/h")).image == f"docker.io/mcp/github@{DIGEST}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("docker compose run x", "only docker run is taken over"),
        ("docker run -it x", "with '-it', which is not taken over: a server speaks over its input"),
        ("docker run --privileged x", "'--privileged'"),
        ("docker run -v data:/data x", "volumes are none here"),
        ("docker run --mount type=volume,src=d,dst=/d x", "only bind is"),
        ("docker run --network=db x", "there are no networks of docker here"),
        ("docker run -p 80:80 x", "'-p'"),
        ("docker run --entrypoint sh x", "'--entrypoint'"),
        ("docker run -u 1000 x", "'-u'"),
        ("docker run -i", "names no image"),
    ],
)
def test_a_word_that_is_not_understood_is_named(line: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(shlex.split(line))
    assert words in str(refused.value)
    assert of(line).refused == str(refused.value)


def test_short_options_may_hold_their_values() -> None:
    line = parse(shlex.split("docker run -eA=1 -v/srv:/srv:ro,z x:1 a b"))
    assert (line.env, line.read, line.command) == ({"A": "1"}, ["/srv"], ["a", "b"])
