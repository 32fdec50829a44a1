"""``policy tainted`` and ``untaint``, as an administrator gives them to a running agent."""

from __future__ import annotations

import msgspec

from penstock_agent.control import Args, Peer, Tainted, TaintedPerson
from penstock_agent.problem import Exit, Problem
from tests.harness.agent_site import Site

ALICE = TaintedPerson("alice\u202e", "https://idp.example", 1_795_867_200.0, "mail", "")


def built(answer: msgspec.Struct) -> Args:
    return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict


def test_who_is_tainted_is_shown_with_how_long_and_why(site: Site) -> None:
    site.join()
    found = Tainted([ALICE], 2)

    async def tainted(_peer: Peer, args: Args) -> Args:
        assert args == {}
        return built(found)

    with site.running(site.status(), tainted=tainted):
        shown = site.run("policy", "tainted")
        as_json = site.run("policy", "tainted", "--json").json
        found = Tainted()
        nobody = site.run("policy", "tainted")
    assert shown.stdout.splitlines() == [
        "alice<U+202E>  until 2026-11-28 12:00 UTC: read from mail",
        "  of https://idp.example, with an unknown client",
        "And 2 more, for whom it ends sooner.",
    ]
    assert as_json == built(Tainted([ALICE], 2))
    assert (nobody.status, nobody.stdout) == (0, "Nothing sensitive was read lately.\n")


def test_it_is_ended_for_one_person(site: Site) -> None:
    site.join()
    given: list[Args] = []

    async def untaint(_peer: Peer, args: Args) -> Args:
        given.append(args)
        if args["subject"] != "alice":
            raise Problem("Nothing sensitive was read lately for bob.", Exit.USAGE)
        return built(ALICE)

    with site.running(site.status(), untaint=untaint):
        done = site.run("policy", "untaint", "alice")
        as_json = site.run("policy", "untaint", "alice", "--issuer", "https://idp.example", "--json")
        refused = site.run("policy", "untaint", "bob")
    assert given[:2] == [
        {"subject": "alice", "issuer": ""},
        {"subject": "alice", "issuer": "https://idp.example"},
    ]
    assert done.stdout == "alice<U+202E> may use again what writes or reaches beyond the site.\n"
    assert as_json.json["subject"] == ALICE.subject
    assert (refused.status, "Nothing sensitive was read" in refused.stderr) == (Exit.USAGE, True)


def test_without_an_agent_it_says_so(site: Site) -> None:
    site.join()
    for command in (("tainted",), ("untaint", "alice")):
        done = site.run("policy", *command)
        assert (done.status, "The agent does not run" in done.stderr) == (Exit.FAILED, True)
