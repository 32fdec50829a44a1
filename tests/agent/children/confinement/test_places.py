import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock_agent.children.confinement import places

Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a program below a folder of the test, or a link to another."""

    def made(path: str, text: str = "\x7fELF", to: str = "") -> str:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if to:
            place.symlink_to(to)
        else:
            place.write_text(text)
            place.chmod(0o755)
        return str(place)

    return made


def of(*command: str, path: str = "", writable: tuple[str, ...] = ()) -> set[str]:
    return set(places.of_command(command, {"PATH": path}, "/home/nobody", writable))


def test_what_holds_nothing_hidden_is_granted_as_a_whole(tmp_path: Path) -> None:
    assert list(places.around(str(tmp_path), ["/somewhere"])) == [str(tmp_path)]


def test_around_what_is_hidden_everything_else_is_granted(tmp_path: Path) -> None:
    for name in ("a/x", "b/secret/key", "b/rest/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = set(places.around(str(tmp_path), [str(tmp_path / "b/secret")]))
    assert found == {str(tmp_path / "a"), str(tmp_path / "b/rest")}
    assert list(places.around(str(tmp_path / "b/secret/key"), [str(tmp_path / "b/secret")])) == []
    assert list(places.around(str(tmp_path / "none"), [str(tmp_path / "none/x")])) == []


def test_of_an_installation_its_parts_are_seen_and_not_what_lies_beside_them(
    make: Make, tmp_path: Path
) -> None:
    tool = make("venv/bin/tool", "#!" + make("venv/bin/python") + "\n")
    for name in ("venv/lib/site.py", "venv/pyvenv.cfg", "venv/state/key.pem"):
        make(name)
    assert of(tool) == {str(tmp_path / "venv" / name) for name in ("bin", "lib", "pyvenv.cfg")}
    assert of("tool", path=f"bin:{tmp_path}:{tmp_path}/venv/bin") == of(tool)


def test_of_local_programs_of_a_user_not_their_data(make: Make, tmp_path: Path) -> None:
    tool = make("home/.local/bin/tool")
    make("home/.local/share/keyrings/login")
    assert of(tool) == {str(tmp_path / "home/.local/bin")}


def test_links_are_followed_to_where_the_program_lies(make: Make, tmp_path: Path) -> None:
    """As nvm and pipx have it: a link beside others, to a script, whose interpreter is found in PATH."""
    node = make("node/v24/bin/node")
    make("node/v24/lib/node_modules/npm/bin/npx-cli.js", "#!/usr/bin/env node\n")
    npx = make("node/v24/bin/npx", to="../lib/node_modules/npm/bin/npx-cli.js")
    link = make("here/bin/npx", to=npx)
    found = of(link, path=os.path.dirname(node))
    assert found == {
        str(tmp_path / name)
        for name in ("here/bin", "node/v24/bin", "node/v24/lib", "node/v24/lib/node_modules")
    }


def test_links_in_a_circle_come_to_an_end(make: Make, tmp_path: Path) -> None:
    make("bin/a", to=str(tmp_path / "bin/b"))
    make("bin/b", to=str(tmp_path / "bin/a"))
    assert of(str(tmp_path / "bin/a")) == {str(tmp_path / "bin")}


def test_the_script_that_an_interpreter_is_given_is_seen_with_its_project(make: Make, tmp_path: Path) -> None:
    make("app/package.json", "{}")
    script = make("app/dist/index.js")
    assert of("node", "--no-warnings", script, "/etc/shadow") == {str(tmp_path / "app")}
    alone = make("other/server.py")
    assert of("python3.11", alone) == {str(tmp_path / "other")}
    packaged = make("x/node_modules/@a/b/dist/index.js")
    assert of("node", packaged) == {str(tmp_path / "x/node_modules")}


def test_arguments_of_other_programs_grant_nothing(make: Make) -> None:
    assert of("mcp-server-filesystem", make("share/file")) == set()
    assert of("python", "-m", "server") == of("python", "server.py") == of("no-such-program") == set()


def test_of_a_folder_that_holds_much_else_only_the_program_is_seen(make: Make, tmp_path: Path) -> None:
    program = make("me/server.sh", "#!/bin/sh\n")
    found = places.of_command([program], {"PATH": ""}, str(tmp_path / "me"))
    assert program in found
    assert str(tmp_path / "me") not in found
    for broad in ("/", "/etc", "/home", "/home/alice", "/root", "/srv", "/tmp", "/var"):
        assert list(places._location(f"{broad.rstrip('/')}/run.sh", "/nowhere")) == [
            f"{broad.rstrip('/')}/run.sh"
        ]


def test_a_program_that_the_child_can_replace_leads_nowhere(make: Make, tmp_path: Path) -> None:
    make("private/id")
    link = make("state/bin/tool", to=str(tmp_path / "private/id"))
    assert str(tmp_path / "private") in of(link)
    assert of(link, writable=(str(tmp_path / "state"),)) == set()


def test_the_agents_own_is_refused_and_what_contains_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "servers/other").mkdir(parents=True)
    (tmp_path / "link").symlink_to(state)
    for path in (state, state / "servers/other", tmp_path / "link"):
        assert "is the agent's own" in places.refused(str(path), [str(state)])
    assert "contains what is the agent's own" in places.refused(str(tmp_path), [str(state)])
    assert "contains" in places.refused("/", [str(state)])
    assert places.refused(str(tmp_path / "stat"), [str(state)]) == ""


def test_no_folder_of_users_nor_all_of_etc_is_among_what_everybody_sees() -> None:
    for place in (*places.SYSTEM, *places.RESOLVING):
        assert place not in {"/", "/etc", "/home", "/root", "/var", "/run", "/tmp", "/proc", "/dev"}
        assert not any(word in place for word in ("shadow", "penstock", "ssh", "sudoers", "systemd/system"))
