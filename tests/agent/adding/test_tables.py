import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.adding import tables
from penstock_agent.settings_file import ConfigError

PATH = Path("agent.toml")
TEXT = """\
# the site's file
max_children = 8   # a small machine

# documents
[servers.files]   # of the company
command = ["prog",   "/srv"]  # spaces stay
expose = ["old"]  # reviewed in May

# customers
[servers.crm]
command = ["crm"]
[servers.crm.limits]
files = 64

# at the end
[site]
name = "Plant"
"""


def test_a_table_is_added_behind_the_others_and_all_else_stays() -> None:
    text = tables.added(
        TEXT,
        PATH,
        "new",
        {"command": ["a", 'b"c'], "env": {"X": "y", "odd name": "\\"}, "network": "host"},
        marked=["network"],
        comment="from\nthere",
    )
    before, after = TEXT.split("\n# at the end\n")
    assert text.startswith(before)
    assert text.endswith("\n# at the end\n" + after)
    assert text[len(before) :].removesuffix("\n# at the end\n" + after) == (
        '\n[servers.new]\n# from there\ncommand = ["a", "b\\"c"]\nenv = { X = "y", "odd name" = "\\\\" }\n'
        'network = "host"  # import: not reviewed\n'
    )
    assert tables.unreviewed(text) == {"new": ["network"]}


def test_it_is_the_first_of_an_empty_file_and_follows_a_last_line_without_end() -> None:
    assert tables.added("", PATH, "a", {"url": "http://x/mcp"}) == '[servers.a]\nurl = "http://x/mcp"\n'
    assert tables.added("max_children = 8", PATH, "a", {"url": "u"}).startswith(
        "max_children = 8\n\n[servers.a]\n"
    )


def test_a_long_list_has_a_line_for_each_entry() -> None:
    text = tables.added("", PATH, "a", {"command": ["x" * 60, "y" * 60]})
    assert text.count("\n") == 5
    assert tomllib.loads(text)["servers"]["a"]["command"] == ["x" * 60, "y" * 60]


@pytest.mark.parametrize("text", [TEXT, 'servers = { files = { command = ["x"] } }\n'])
def test_what_is_there_is_not_overwritten(text: str) -> None:
    with pytest.raises(ConfigError, match="has a server named files already"):
        tables.added(text, PATH, "files", {"command": ["y"]})


def test_a_file_that_cannot_be_added_to_is_left_alone() -> None:
    with pytest.raises(ConfigError, match=r"Add \[servers.b\] by hand"):
        tables.added('servers = { a = { command = ["x"] } }\n', PATH, "b", {"command": ["y"]})
    with pytest.raises(ConfigError, match="not valid TOML"):
        tables.added("x = [", PATH, "b", {"command": ["y"]})


def test_a_table_is_taken_out_with_its_parts_and_its_comment() -> None:
    assert tables.removed(TEXT, PATH, "crm") == TEXT.replace(
        '# customers\n[servers.crm]\ncommand = ["crm"]\n[servers.crm.limits]\nfiles = 64\n\n', ""
    )
    text = tables.removed(TEXT, PATH, "files")
    assert "# customers" in text
    assert "documents" not in text
    assert text.startswith("# the site's file\nmax_children = 8   # a small machine\n")


def test_lists_of_tables_go_with_their_server() -> None:
    more = '[[servers.crm.redact]]\nwhat = ["email"]\n\n[[servers.crm.redact]]\nwhat = ["iban"]\n\n'
    text = TEXT.replace("# at the end\n", f"{more}# at the end\n")
    assert tables.removed(text, PATH, "crm") == tables.removed(TEXT, PATH, "crm")
    assert more in tables.with_command(text, PATH, "crm", ["x"], "c")
    assert more in tables.added(text, PATH, "n", {"command": ["x"]})


def test_a_comment_that_begins_the_file_is_about_the_file() -> None:
    text = '# the site\n[servers.a]\ncommand = ["x"]\n'
    assert tables.removed(text, PATH, "a") == "# the site\n"


def test_lines_in_strings_that_look_like_tables_do_no_harm() -> None:
    text = '[servers.a]\ncommand = ["""\n[servers.b]\n"""]\n[servers.b]\ncommand = ["x"]\n'
    with pytest.raises(ConfigError, match="by hand"):
        tables.removed(text, PATH, "b")


def test_another_command_keeps_the_rest_and_says_what_it_was() -> None:
    text = tables.with_command(TEXT, PATH, "files", ["/p/bin", "/srv"], "files 1.2; was: npx\nfiles")
    assert text == TEXT.replace(
        'command = ["prog",   "/srv"]  # spaces stay',
        'command = ["/p/bin", "/srv"]  # files 1.2; was: npx files',
    )


def test_a_network_that_only_import_opened_is_closed_again() -> None:
    text = tables.added(TEXT, PATH, "n", {"command": ["npx"], "network": "host"}, marked=["network"])
    kept = tables.with_command(text, PATH, "n", ["x"], "c")
    closed = tables.with_command(text, PATH, "n", ["x"], "c", offline=True)
    assert tomllib.loads(kept)["servers"]["n"] == {"command": ["x"], "network": "host"}
    assert tomllib.loads(closed)["servers"]["n"] == {"command": ["x"]}
    accepted = tables.accepted(text, PATH, "n")
    assert "network" in tables.with_command(accepted, PATH, "n", ["x"], "c", offline=True)


@pytest.mark.parametrize("between", ["[site]\n", "[tolerance]\nsessionless = true\n\n"])
def test_servers_that_do_not_stand_together_are_found(between: str) -> None:
    text = f'[servers.a]\ncommand = ["x"]\n{between}'
    text += f'[servers.n]\ncommand = ["y"]\nread = ["/a"]  # {tables.MARK}\n'
    assert tables.unreviewed(text) == {"n": ["read"]}
    assert tables.MARK not in tables.accepted(text, PATH, "n")
    assert '["z"]  # c' in tables.with_command(text, PATH, "n", ["z"], "c")
    assert tables.removed(text, PATH, "n") == f'[servers.a]\ncommand = ["x"]\n{between}'


def test_accepting_removes_the_marks_and_nothing_else() -> None:
    text = tables.added(TEXT, PATH, "n", {"command": ["x"], "read": ["/a"]}, marked=["read"])
    assert tables.accepted(text, PATH, "n") == tables.added(
        TEXT, PATH, "n", {"command": ["x"], "read": ["/a"]}
    )
    assert tables.unreviewed(tables.accepted(text, PATH, "n")) == {}


@given(
    st.dictionaries(
        st.sampled_from(["command", "read", "url", "env"]),
        st.text()
        | st.lists(st.text(), max_size=4)
        | st.dictionaries(st.text(min_size=1), st.text(), max_size=4),
        min_size=1,
    )
)
def test_whatever_is_written_is_read_back(values: dict[str, str | list[str] | dict[str, str]]) -> None:
    try:
        text = tables.added(TEXT, PATH, "n", values)
    except ConfigError:
        return  # refused whole: half characters, which no file can hold
    assert tomllib.loads(text)["servers"]["n"] == values
    assert tomllib.loads(tables.removed(text, PATH, "n")) == tomllib.loads(TEXT)


def test_another_isolation_changes_that_line_and_nothing_else() -> None:
    changed = tables.with_isolation(TEXT, PATH, "files", "unit")
    assert 'expose = ["old"]  # reviewed in May\nisolation = "unit"\n' in changed
    assert tables.with_isolation(changed, PATH, "files", None) == TEXT
    assert tables.with_isolation(TEXT, PATH, "files", None) == TEXT
    marked = tables.added(TEXT, PATH, "n", {"command": ["x"], "isolation": "process"}, marked=["isolation"])
    assert tables.unreviewed(tables.with_isolation(marked, PATH, "n", "unit")) == {}
