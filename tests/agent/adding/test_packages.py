import pytest

from penstock_agent.adding.packages import NotPreparable, Registry, Wanted, runner, wanted

NPM, PYPI = Registry.NPM, Registry.PYPI


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("npx -y @a/b /srv", Wanted(NPM, "@a/b", "", "", ("/srv",))),
        ("npx @a/b@1.2.3 --stdio", Wanted(NPM, "@a/b", "@1.2.3", "", ("--stdio",))),
        ("/usr/bin/npx --yes pkg@latest", Wanted(NPM, "pkg")),
        ("npx -y -p @a/b@^2 prog x", Wanted(NPM, "@a/b", "@^2", "prog", ("x",))),
        ("npx --package=@a/b --package=c prog", Wanted(NPM, "@a/b", "", "prog", (), ("c",))),
        ("npx -y -- pkg -y", Wanted(NPM, "pkg", "", "", ("-y",))),
        ("npm exec -y pkg", Wanted(NPM, "pkg")),
        ("uvx mcp-server-time --zone=UTC", Wanted(PYPI, "mcp-server-time", "", "", ("--zone=UTC",))),
        ("uvx mcp-server-git@2025.1.1", Wanted(PYPI, "mcp-server-git", "==2025.1.1")),
        ("uvx mcp-server-git@latest", Wanted(PYPI, "mcp-server-git")),
        ("uvx --from notes-mcp==1.4 notes x", Wanted(PYPI, "notes-mcp", "==1.4", "notes", ("x",))),
        ("uvx --from pkg[cli]>=1,<2 prog", Wanted(PYPI, "pkg[cli]", ">=1,<2", "prog")),
        ("uvx --with mcp<2,b --python 3.12 srv", Wanted(PYPI, "srv", "", "", (), ("mcp<2", "b"), "3.12")),
        ("uv tool run srv a", Wanted(PYPI, "srv", "", "", ("a",))),
        ("pipx run srv", Wanted(PYPI, "srv")),
        ("pipx run --spec pkg==3 srv a", Wanted(PYPI, "pkg", "==3", "srv", ("a",))),
    ],
)  # fmt: skip
def test_what_a_command_fetches(command: str, expected: Wanted) -> None:
    assert wanted(command.split()) == expected


@pytest.mark.parametrize(
    "command", ["node server.js", "uv run server.py", "npm start", "/opt/npx-like/run", "uv"]
)
def test_a_command_that_fetches_nothing_wants_nothing(command: str) -> None:
    assert wanted(command.split()) is None
    assert runner(command.split()) == ""


@pytest.mark.parametrize(
    "command",
    [
        "npx -y github:user/repo",
        "npx -y ./local",
        "npx -y https://example.com/x.tgz",
        "npx",
        "npx -y",
        "npx -c x",
        "npx -p",
        "uvx --from git+https://github.com/a/b srv",
        "uvx ./here",
        "uvx",
        "uvx --from",
        "uvx --with-editable . srv",
        "pipx run https://example.com/x.py",
        "pipx run --spec",
        "bunx pkg",
        "pnpm dlx pkg",
    ],
)
def test_what_no_registry_can_fix_to_a_version_is_said(command: str) -> None:
    with pytest.raises(NotPreparable):
        wanted(command.split())


@pytest.mark.parametrize("name", ["--prefix=/etc", "-g", "a b", "a;b", "a$(b)", "a\nb", "", "--"])
def test_nothing_that_the_client_would_take_for_an_option_gets_through(name: str) -> None:
    for command in (["npx", "-y", "--", name], ["npx", "-p", name, "x"], ["uvx", "--from", name, "x"]):
        with pytest.raises(NotPreparable):
            wanted(command)
