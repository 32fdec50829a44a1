"""Who acts, as the log shows it."""

from __future__ import annotations

import hashlib

from penstock_relay import audit
from penstock_relay.audit.events import MAX_TEXT


def test_each_kind_of_actor_says_how_it_was_known() -> None:
    assert audit.RELAY.fields() == {"kind": "relay"}
    assert audit.STRANGER.fields() == {"kind": "stranger"}
    assert audit.user("alice").fields() == {"kind": "user", "name": "alice"}
    assert audit.client("dcr-1", "alice").fields() == {"kind": "client", "client": "dcr-1", "user": "alice"}
    assert audit.command(0, "root", "host1", "carol").fields() == {
        "kind": "command", "uid": 0, "name": "root", "host": "host1", "sudo_user": "carol",
    }  # fmt: skip
    assert "sudo_user" not in audit.command(0, "root", "host1", None).fields()
    assert "sudo_user" not in audit.command(0, "root", "host1", "").fields()


def test_a_join_string_is_named_by_the_beginning_of_its_hash() -> None:
    digest = hashlib.sha256(b"secret").digest()
    assert audit.invite(digest, "mill").fields() == {
        "kind": "invite", "invite": digest.hex()[:12], "site": "mill",
    }  # fmt: skip


def test_names_that_others_choose_are_cut() -> None:
    for actor in (
        audit.user("x" * 5000),
        audit.client("https://" + "x" * 5000, "y" * 5000),
        audit.command(1, "n" * 5000, "h" * 5000, "s" * 5000),
    ):
        assert all(len(value) <= MAX_TEXT for value in actor.fields().values() if isinstance(value, str))


def test_the_same_actor_is_equal_and_can_be_counted_by() -> None:
    assert {audit.user("alice"), audit.user("alice"), audit.user("bob")} == {
        audit.user("bob"),
        audit.user("alice"),
    }
