"""What the tests of users, memberships, clients and grants have in common."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from penstock_relay.store import Code, Grant, GrantToken, Membership, Store, User

NOW: Final = 1000.0
CODE: Final = b"c" * 32


def url_in(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'relay.db'}"


def user(name: str = "alice", created_at: float = NOW) -> User:
    return User(name, f"{name}@example.com", None, created_at)


def invite_of(name: str) -> bytes:
    return name.encode().ljust(32, b"i")


async def fill(store: Store, *users: str) -> None:
    """The site mill, and users with an unused invitation each, good until 2000."""
    await store.sites.add("mill", NOW)
    for name in users or ("alice",):
        await store.users.add(user(name), invite_of(name), 2000.0)


def code(secret_hash: bytes = CODE, user: str = "alice", created_at: float = NOW) -> Code:
    """Good for 60 s."""
    return Code(
        secret_hash=secret_hash,
        user=user,
        client_id="client",
        client_name="Client",
        redirect_uri="http://127.0.0.1/back",
        challenge="x" * 43,
        resource="https://relay/mill/files",
        site="mill",
        server="files",
        created_at=created_at,
        expires_at=created_at + 60.0,
    )


def grant(number: int = 0, user: str = "alice") -> Grant:
    """Idle at 4000, ended at 9000."""
    return Grant(
        id=f"grant-{number}",
        user=user,
        client_id="client",
        client_name="Client",
        site="mill",
        server="files",
        resource="https://relay/mill/files",
        created_at=NOW + number,
        expires_at=9000.0,
        idle_at=4000.0,
    )


def pair(number: int, now: float = NOW, grant_id: str = "grant-0") -> tuple[GrantToken, GrantToken]:
    """An access token for 100 s and a refresh token for 5000 s."""
    return (
        GrantToken(f"access-{number}", b"a" * 32, False, grant_id, now, now + 100.0),
        GrantToken(f"refresh-{number}", b"r" * 32, True, grant_id, now, now + 5000.0),
    )


async def redeemed(store: Store, number: int = 0, user: str = "alice", server: str = "files") -> Grant:
    """A grant with tokens of the same number, as a client gets it at ``NOW``."""
    secret_hash, made = bytes([number]) * 32, replace(grant(number, user), server=server)
    await store.grants.add_code(replace(code(secret_hash, user), server=server))
    assert await store.grants.redeem(secret_hash, made, *pair(number, grant_id=made.id), NOW)
    return made


async def rotate(
    store: Store,
    of: str = "refresh-0",
    to: int = 1,
    now: float = NOW,
    grace: float = 30.0,
    idle_at: float = 8000.0,
) -> bool:
    return await store.grants.rotate(of, *pair(to, now), now, grace, idle_at)


async def found(store: Store, public_ids: Sequence[str]) -> list[str]:
    """Those of them that there are."""
    return [name for name in public_ids if await store.grants.find_token(name) is not None]


def member(user: str = "alice", site: str = "mill", server: str | None = None) -> Membership:
    return Membership(user, site, server, NOW)
