"""`tools list` and `tools lint`: real servers, asked once each."""

from __future__ import annotations

from penstock_agent.problem import Exit
from tests.harness.agent_site import Site


def test_the_list_shows_what_is_offered_and_what_of_it_is_exposed(site: Site) -> None:
    site.add_server(["read_file"])
    done = site.run("tools", "list")
    assert done.status == 0
    assert "files offers 5 tools, 1 prompts, 0 resources. Exposed (+): 1." in done.stdout
    assert "    + read_file   Reads." in done.stdout
    listed = site.run("tools", "list", "files", "--json").json["files"]
    reads = {"kind": "tool", "name": "read_file", "effect": "read", "exposed": True}
    assert {**reads, "withheld": None, "ours": False} in listed  # type: ignore[operator]


def test_only_what_is_exposed_is_looked_at_unless_all_is_asked_for(site: Site) -> None:
    site.add_server(["read_file"])
    few, many = site.run("tools", "lint"), site.run("tools", "lint", "--all")
    assert "read_file" in few.stdout
    assert "wipe" not in few.stdout
    assert "wipe" in many.stdout
    assert few.stdout.count("\n") < many.stdout.count("\n")
    as_json = site.run("tools", "lint", "files", "--json").json["findings"]
    assert isinstance(as_json, list)
    assert {each["server"] for each in as_json} == {"files"}


def test_a_server_that_is_not_there_and_none_at_all_are_said(site: Site) -> None:
    nothing = site.run("tools", "lint")
    assert (nothing.status, "There are no servers" in nothing.stderr) == (Exit.USAGE, True)
    site.add_server(["read_file"])
    assert site.run("tools", "list", "crm").status == Exit.USAGE
