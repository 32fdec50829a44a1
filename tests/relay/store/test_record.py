"""Every write says in the audit log what it did, and in whose name; none is without the other."""

from __future__ import annotations

import ast
import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from penstock.names import AgentId
from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store import (
    Agent,
    ClientRecord,
    GroupMembership,
    Membership,
    NoSuchGrant,
    NoSuchSite,
    NoSuchUser,
    Role,
    SiteExists,
    Store,
    Successor,
    Token,
    UserExists,
)
from penstock_relay.store.clients import NoSuchClient
from penstock_relay.store.consents import Consent
from penstock_relay.store.database import Database, Unrecorded
from penstock_relay.store.models import SiteRow
from penstock_relay.store.record import record
from tests.relay.store.accounts import (
    CODE,
    NOW,
    code,
    fill,
    grant,
    invite_of,
    member,
    pair,
    redeemed,
    rotate,
    url_in,
    user,
)

STORE: Final = Path(__file__).parents[3] / "relay/penstock_relay/store"
ALICE: Final = audit.user("alice")

#: Methods that change the store and say nothing of it; the reason stands where they write.
SILENT: Final = {
    "Certificates.confirm",
    "Certificates.use",
    "Clients.used",
    "Consents.forget",
    "Consents.take",
    "Factors.seal_again",
    "Factors.use_step",
    "Grants.revoke_all",
    "Grants.rotate",
    "Logins.add",
    "Logins.end",
    "People.abandon_check",
    "People.begin_check",
    "People.end_check",
    "People.keep_refresh",
    "People.log_out",
    "People.welcome",
    "SigningClients.forget",
    "SigningClients.remember",
    "Users.disable",
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path), clock=lambda: 5000.25) as store:
        await fill(store)
        yield store.by(ALICE)


async def records(store: Store) -> list[dict[str, Any]]:
    return [entry.values() async for entry in store.audit.entries()]


async def said_by(store: Store, work: Callable[[], Awaitable[object]]) -> list[tuple[str, dict[str, Any]]]:
    """What the work adds to the log: kind and fields."""
    before = len(await records(store))
    await work()
    return [(each["kind"], each["about"]) for each in (await records(store))[before:]]


def client(client_id: str = "dcr-1", created_at: float = NOW) -> ClientRecord:
    return ClientRecord(client_id, "Client", ("http://[::1]/b",), "none", None, created_at)


def token() -> Token:
    return Token("abc", b"s" * 32, "ci", "mill", "files", NOW, 9000.0)


KEY = b"k" * 32


def agent(name: str = "one", serial: str = "1f") -> Agent:
    return Agent(AgentId("mill", name), serial, 8000.0, NOW, fingerprint=KEY)


GRANT = {"grant": "grant-0", "user": "alice", "client": "client", "site": "mill", "server": "files"}


async def test_a_record_names_the_actor_the_time_and_what_was_done(store: Store) -> None:
    await store.sites.add("dam", NOW)
    last = (await records(store))[-1]
    previous = last.pop("previous")
    assert last == {
        "sequence": 3,
        "at": "1970-01-01T01:23:20.250Z",
        "kind": "site_added",
        "actor": {"kind": "user", "name": "alice"},
        "about": {"site": "dam"},
    }
    head = await store.audit.head()
    assert head is not None
    assert head.sequence == 3
    assert head.hash != previous


async def test_who_is_not_named_is_the_relay_itself(store: Store) -> None:
    first, second = await records(store)
    assert first["kind"], second["kind"] == ("site_added", "user_added")
    assert first["actor"] == second["actor"] == {"kind": "relay"}


async def test_sites_agents_and_tokens(store: Store) -> None:
    at_8000, at_9000 = "1970-01-01T02:13:20.000Z", "1970-01-01T02:30:00.000Z"
    secret = b"\xab" * 32
    assert await said_by(store, lambda: store.sites.add("dam", NOW)) == [("site_added", {"site": "dam"})]
    for times, kinds in ((1, ["site_suspended"]), (2, [])):
        said = await said_by(store, lambda: store.sites.suspend("dam", NOW))
        assert said == [(kind, {"site": "dam"}) for kind in kinds], times
    for times, kinds in ((1, ["site_resumed"]), (2, [])):
        said = await said_by(store, lambda: store.sites.resume("dam"))
        assert said == [(kind, {"site": "dam"}) for kind in kinds], times
    assert await said_by(store, lambda: store.invites.create("mill", secret, NOW, 9000.0)) == [
        ("agent_invited", {"site": "mill", "invite": "ab" * 6, "expires_at": at_9000})
    ]
    enrolled = {
        "site": "mill",
        "agent": "one",
        "serial": "1f",
        "not_after": at_8000,
        "state": "waits for approval",
    }
    assert await said_by(store, lambda: store.invites.take(secret, agent(), NOW)) == [
        ("agent_enrolled", enrolled)
    ]
    assert await said_by(store, lambda: store.invites.take(secret, agent("two", "2"), NOW)) == []
    assert await said_by(store, lambda: store.agents.add(agent("two", "2"))) == [
        ("agent_enrolled", {**enrolled, "agent": "two", "serial": "2"})
    ]
    one = {"site": "mill", "agent": "one"}
    assert await said_by(store, lambda: store.agents.approve(agent().id, KEY, NOW)) == [
        ("agent_approved", {**one, "fingerprint": KEY.hex()})
    ]
    assert await said_by(store, lambda: store.agents.approve(agent().id, KEY, NOW)) == []
    fresh = Successor("2a", b"f" * 32, 8000.0)
    assert await said_by(store, lambda: store.certificates.renew("1f", fresh, NOW, linked=True)) == [
        (
            "certificate_renewed",
            {**one, "generation": 2, "serial": {"from": "1f", "to": "2a"}, "not_after": at_8000},
        )
    ]
    assert await said_by(store, lambda: store.certificates.use("2a", NOW)) == []
    assert await said_by(store, lambda: store.certificates.use("1f", NOW)) == []
    assert await said_by(store, lambda: store.certificates.renew("1f", fresh, NOW, linked=True)) == [
        ("agent_locked", {**one, "reason": "clone"})
    ]
    await store.invites.create("mill", b"r" * 32, NOW, 9000.0, "one")
    assert await said_by(store, lambda: store.invites.take(b"r" * 32, agent(serial="3b"), NOW)) == [
        (
            "agent_replaced",
            {
                **one,
                "serial": {"from": "2a", "to": "3b"},
                "not_after": at_8000,
                "state": "waits for approval",
            },
        )
    ]
    assert await said_by(store, lambda: store.agents.revoke(agent().id, NOW)) == [
        ("agent_revoked", {**one, "serial": "3b"})
    ]
    assert await said_by(store, lambda: store.agents.revoke(agent().id, NOW)) == []
    what = {"token": "abc", "name": "ci", "site": "mill", "server": "files"}
    assert await said_by(store, lambda: store.tokens.create(token())) == [
        ("token_issued", {**what, "expires_at": at_9000})
    ]
    assert await said_by(store, lambda: store.tokens.revoke("abc", NOW)) == [("token_revoked", what)]
    assert await said_by(store, lambda: store.tokens.revoke("abc", NOW)) == []


async def test_users_and_access(store: Store) -> None:
    bob = {"user": "bob", "invite": invite_of("bob").hex()[:12]}
    at_2000 = "1970-01-01T00:33:20.000Z"
    assert await said_by(store, lambda: store.users.add(user("bob"), invite_of("bob"), 2000.0)) == [
        ("user_added", {**bob, "expires_at": at_2000})
    ]
    assert await said_by(store, lambda: store.users.accept(invite_of("bob"), "$1", NOW)) == [
        ("password_set", {**bob, "state": {"from": "invited", "to": "active"}})
    ]
    assert await said_by(store, lambda: store.users.accept(invite_of("bob"), "$2", NOW)) == []
    assert await said_by(store, lambda: store.users.invite("bob", b"\xcd" * 32, NOW, 2000.0)) == [
        ("user_invited", {"user": "bob", "invite": "cd" * 6, "expires_at": at_2000})
    ]
    assert await said_by(store, lambda: store.users.accept(b"\xcd" * 32, "$2", NOW)) == [
        ("password_set", {"user": "bob", "invite": "cd" * 6, "state": {"from": "active", "to": "active"}})
    ]
    whole, one = member("bob"), member("bob", server="files")
    assert await said_by(store, lambda: store.memberships.add(whole)) == [
        ("access_added", {"user": "bob", "site": "mill", "role": "user"})
    ]
    assert await said_by(store, lambda: store.memberships.add(whole)) == []
    assert await said_by(store, lambda: store.memberships.add(one)) == [
        ("access_added", {"user": "bob", "site": "mill", "server": "files", "role": "user"})
    ]
    assert await said_by(store, lambda: store.memberships.remove("bob", "mill", "files")) == [
        ("access_removed", {"user": "bob", "site": "mill", "server": "files", "role": "user"})
    ]
    changed = replace(whole, role=Role.AUDITOR)
    assert await said_by(store, lambda: store.memberships.add(changed)) == [
        ("access_changed", {"user": "bob", "site": "mill", "role": {"from": "user", "to": "auditor"}})
    ]
    staff = GroupMembership("staff", "mill", None, NOW)
    assert await said_by(store, lambda: store.memberships.add(staff)) == [
        ("access_added", {"group": "staff", "site": "mill", "role": "user"})
    ]
    assert await said_by(store, lambda: store.memberships.remove_group("staff", "mill", None)) == [
        ("access_removed", {"group": "staff", "site": "mill", "role": "user"})
    ]
    assert await said_by(store, lambda: store.users.set_admin("bob", True, NOW)) == [
        ("relay_admin_added", {"user": "bob"})
    ]
    assert await said_by(store, lambda: store.users.set_admin("bob", True, NOW)) == []
    assert await said_by(store, lambda: store.users.set_admin("bob", False, NOW)) == [
        ("relay_admin_removed", {"user": "bob"})
    ]
    assert await said_by(store, lambda: store.memberships.remove("bob", "mill", "files")) == []


async def test_an_account_in_wrong_hands_and_one_that_is_used_again(store: Store) -> None:
    await redeemed(store, 0)
    ended = {"user": "alice", "grants": 1, "logins": 0}
    assert await said_by(store, lambda: store.users.reset("alice", NOW)) == [
        ("grant_revoked", {**GRANT, "reason": "user_reset"}),
        ("user_reset", {**ended, "state": {"from": "invited", "to": "invited"}}),
    ]
    await store.users.disable("alice", NOW)
    assert await said_by(store, lambda: store.users.enable("alice")) == [
        ("user_enabled", {"user": "alice", "state": {"from": "disabled", "to": "invited"}})
    ]
    assert await said_by(store, lambda: store.users.enable("alice")) == []


async def test_users_of_the_identity_provider(store: Store) -> None:
    person = Person("https://sso.example", "s-1", groups=("staff",))

    async def welcome() -> None:
        await store.people.welcome(person, NOW, name="anna", spare="user-1")

    assert await said_by(store, welcome) == [
        ("user_joined", {"user": "anna", "issuer": "https://sso.example", "subject": "s-1"})
    ]
    assert await said_by(store, welcome) == []

    async def log_out(jti: bytes) -> None:
        await store.people.log_out(
            "https://sso.example", "s-1", None, jti_hash=jti, jti_until=NOW, now=NOW, grants=True
        )

    assert await said_by(store, lambda: log_out(b"1" * 32)) == [
        ("user_logged_out", {"user": "anna", "grants": 0, "logins": 0})
    ]
    await store.people.begin_check("anna", NOW, NOW + 1)
    assert await said_by(store, lambda: store.people.end_check("anna", NOW, person=None, refresh=None)) == [
        ("user_not_vouched", {"user": "anna", "logins": 0})
    ]


async def test_a_user_who_is_disabled_and_each_grant_that_this_ends(store: Store) -> None:
    await redeemed(store, 0)
    await redeemed(store, 1)
    await store.grants.revoke("grant-1", NOW)
    assert await said_by(store, lambda: store.users.disable("alice", NOW)) == [
        ("grant_revoked", {**GRANT, "reason": "user_disabled"}),
        (
            "user_disabled",
            {
                "user": "alice",
                "grants": 1,
                "logins": 0,
                "state": {"from": "invited", "to": "disabled"},
            },
        ),
    ]
    assert await said_by(store, lambda: store.users.disable("alice", NOW)) == []


async def test_clients(store: Store) -> None:
    assert await said_by(store, lambda: store.clients.add(client(), 1)) == [
        ("client_registered", {"client": "dcr-1", "client_name": "Client", "auth": "none"})
    ]
    assert await said_by(store, lambda: store.clients.add(client("dcr-2", NOW + 1), 1)) == [
        (
            "client_registered",
            {"client": "dcr-2", "client_name": "Client", "auth": "none", "dropped": "dcr-1"},
        )
    ]
    assert await said_by(store, lambda: store.clients.purge(9000.0)) == [("clients_purged", {"count": 1})]
    assert await said_by(store, lambda: store.clients.purge(9000.0)) == []
    await store.clients.add(client(), 1)
    assert await said_by(store, lambda: store.clients.used("dcr-1", NOW)) == []
    assert await said_by(store, lambda: store.clients.add(client("dcr-2"), 1)) == []


async def test_clients_that_the_operator_makes_and_removes(store: Store) -> None:
    made = replace(client("client"), preregistered=True)
    about = {"client": "client", "client_name": "Client"}
    assert await said_by(store, lambda: store.clients.add(made, 0)) == [
        ("client_added", {**about, "auth": "none"})
    ]
    await redeemed(store)
    assert await said_by(store, lambda: store.clients.remove("client", NOW)) == [
        ("grant_revoked", {**GRANT, "reason": "client_removed"}),
        ("client_removed", {**about, "grants": 1}),
    ]
    with pytest.raises(NoSuchClient):
        await store.clients.remove("client", NOW)


async def test_grants_from_consent_to_their_end(store: Store) -> None:
    assert await said_by(store, lambda: store.grants.add_code(code())) == [
        (
            "consent_allowed",
            {"client": "client", "client_name": "Client", "site": "mill", "server": "files"},
        )
    ]
    assert await said_by(store, lambda: store.grants.redeem(CODE, grant(), *pair(0), NOW)) == [
        ("grant_made", {**GRANT, "expires_at": "1970-01-01T02:30:00.000Z"})
    ]
    assert await said_by(store, lambda: rotate(store, now=NOW + 1)) == []
    assert await said_by(store, lambda: store.grants.revoke("grant-0", NOW + 2)) == [("grant_revoked", GRANT)]
    assert await said_by(store, lambda: store.grants.revoke("grant-0", NOW + 3)) == []


async def test_tools_that_are_allowed_at_first_and_then_others(store: Store) -> None:
    one, two = '{"tools":["read"]}', '{"tools":["read","write"]}'
    consent = await said_by(store, lambda: store.grants.add_code(replace(code(), allowed=one)))
    assert consent[0][1]["allowed"] == one
    made = replace(grant(), allowed=one)
    assert (await said_by(store, lambda: store.grants.redeem(CODE, made, *pair(0), NOW)))[0][1] == {
        **GRANT, "allowed": one, "expires_at": "1970-01-01T02:30:00.000Z",
    }  # fmt: skip
    assert await said_by(store, lambda: store.grants.allow("grant-0", two)) == [
        ("grant_changed", {**GRANT, "allowed": {"from": one, "to": two}})
    ]
    with pytest.raises(NoSuchGrant):
        await store.grants.allow("nope", two)


async def test_a_consent_given_ahead_is_recorded_and_its_use_is_the_code(store: Store) -> None:
    ahead = Consent("alice", "client", "http://127.0.0.1/b", "mill", "files", "{}", 2000.0)
    assert await said_by(store, lambda: store.consents.put(ahead, NOW)) == [
        (
            "consent_allowed",
            {
                "client": "client",
                "site": "mill",
                "server": "files",
                "allowed": "{}",
                "expires_at": "1970-01-01T00:33:20.000Z",
            },
        )
    ]
    taking = ("alice", "client", "http://127.0.0.1/b", "mill", "files", NOW)
    assert await said_by(store, lambda: store.consents.take(*taking)) == []


async def test_a_code_and_a_refresh_token_that_come_twice_end_the_grant_and_say_why(store: Store) -> None:
    await store.grants.add_code(code())
    await store.grants.redeem(CODE, grant(), *pair(0), NOW)
    again = await said_by(store, lambda: store.grants.redeem(CODE, grant(7), *pair(7), NOW + 1))
    assert again == [("grant_revoked", {**GRANT, "reason": "code_reused"})]
    assert await said_by(store, lambda: store.grants.redeem(CODE, grant(8), *pair(8), NOW + 2)) == []
    await redeemed(store, 1)
    await rotate(store, "refresh-1", 2, NOW + 10)
    stolen = await said_by(store, lambda: rotate(store, "refresh-1", 3, NOW + 100))
    assert stolen == [("grant_revoked", {**GRANT, "grant": "grant-1", "reason": "refresh_token_reused"})]
    assert await said_by(store, lambda: rotate(store, "refresh-1", 4, NOW + 101)) == []


# -- neither without the other -------------------------------------------------------------------------


async def test_what_fails_leaves_no_record(store: Store) -> None:
    await store.agents.add(agent())
    await store.invites.create("mill", b"s" * 32, NOW, 9000.0)
    before = await records(store)
    faults: list[tuple[type[Exception], Callable[[], Awaitable[object]]]] = [
        (SiteExists, lambda: store.sites.add("mill", NOW)),
        (UserExists, lambda: store.users.add(user(), b"x" * 32, 2000.0)),
        (NoSuchUser, lambda: store.memberships.add(Membership("zoe", "mill", None, NOW))),
        (NoSuchSite, lambda: store.memberships.add(member(site="port"))),
        (IntegrityError, lambda: store.invites.take(b"s" * 32, agent("one", "2"), NOW)),
        (IntegrityError, lambda: store.agents.add(agent())),
    ]
    for error, work in faults:
        with pytest.raises(error):
            await work()
    assert await records(store) == before


async def test_a_change_without_a_record_is_undone(tmp_path: Path) -> None:
    database = await Database.open(url_in(tmp_path))

    async def silently(why: str = "") -> None:
        async with database.writing(unrecorded=why) as connection:
            await connection.execute(insert(SiteRow).values(name="mill", created_at=NOW))

    with pytest.raises(Unrecorded, match="record it, or say why"):
        await silently()
    async with database.reading() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM sites")).scalar_one() == 0
    await silently("a test")
    async with database.reading() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM sites")).scalar_one() == 1
    async with database.writing() as connection:  # nothing changes: there is nothing to say
        await connection.execute(update(SiteRow).where(SiteRow.name == "dam").values(created_at=1.0))
    await database.close()


async def test_a_record_that_cannot_be_written_undoes_the_change(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
    with pytest.raises(IntegrityError, match="disk is full"):
        await store.sites.add("dam", NOW)
    assert not await store.sites.exists("dam")


async def test_only_a_write_can_record(tmp_path: Path) -> None:
    database = await Database.open(url_in(tmp_path))
    async with database.writing() as connection:
        await record(connection, Kind.SITE_ADDED, site="mill")
    async with database.reading() as connection:
        with pytest.raises(KeyError):  # on the connection that has just written
            await record(connection, Kind.SITE_ADDED, site="mill")
    await database.close()


async def test_many_processes_that_write_at_once_make_one_chain(store: Store, tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as other:
        await asyncio.gather(*((store, other)[n % 2].sites.add(f"site-{n}", NOW) for n in range(60)))
    found = await store.audit.verify()
    assert found.count == 62
    about = [each["about"].get("site") for each in await records(store)]
    assert set(about) >= {f"site-{n}" for n in range(60)}


# -- a method that is added later ----------------------------------------------------------------------


@cache
def writing_methods() -> dict[str, str]:
    """Each method of the store that opens a write -> its source."""
    found = {}
    for path in STORE.glob("*.py"):
        text = path.read_text()
        for owner in ast.walk(ast.parse(text)):
            if not isinstance(owner, ast.ClassDef) or owner.name == "Database":
                continue
            for method in owner.body:
                source = ast.get_source_segment(text, method) or ""
                if isinstance(method, ast.AsyncFunctionDef) and ".writing(" in source:
                    found[f"{owner.name}.{method.name}"] = source
    return found


#: Functions that record on behalf of a method.
RECORDING: Final = ("record(", "append(", "insert_agent(", "_invite(", "end_grants(")


def test_every_method_that_writes_records_or_is_listed_here() -> None:
    methods = writing_methods()
    assert len(methods) >= 18
    silent = {name for name, source in methods.items() if "unrecorded=" in source}
    assert silent == SILENT
    for name, source in methods.items():
        assert name in SILENT or any(f"await {call}" in source for call in RECORDING), (
            f"{name} writes and records nothing: call record() in its transaction"
        )


def test_no_secret_is_passed_to_a_record() -> None:
    """Of what the store is given, secrets are only ever hashes; a record has less than that: 48 bits."""
    for name, source in writing_methods().items():
        for call in ast.walk(ast.parse(source.strip())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "record":
                text = ast.unparse(call)
                assert "hash" not in text.replace("invite_id(secret_hash)", "").replace(
                    "invite_id(invite_hash)", ""
                ), name


def test_the_records_are_json_that_every_program_reads(tmp_path: Path) -> None:
    async def work() -> list[str]:
        async with await Store.open(url_in(tmp_path)) as store:
            await fill(store)
            return [entry.line() async for entry in store.audit.entries()]

    for line in asyncio.run(work()):
        assert set(json.loads(line)) == {
            "about", "actor", "at", "hash", "kind", "previous", "sequence",
        }  # fmt: skip
