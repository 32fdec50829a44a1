"""Passwords of local accounts: argon2id. Hashing and checking are slow on purpose: call them in a thread."""

from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST: Final = 12
LONGEST: Final = 256

# 19 MiB, two passes: OWASP's first choice where many may log in at once.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

DUMMY: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
"""Checked in the place of the hash of a user that does not exist, at the same cost; no password fits it."""


def hash_password(password: str) -> str:
    """What is kept of `password`: parameters, salt and hash in one text."""
    return _HASHER.hash(password)


def verify(password_hash: str, password: str) -> bool:
    """Whether `password` is the one that was hashed. False for one of a length that `problem` refuses."""
    if len(password) > LONGEST:
        return False
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def problem(password: str, name: str) -> str | None:
    """Why `password` is too weak for user `name`, as a sentence; None when it is not."""
    if len(password) < SHORTEST:
        return f"The password has fewer than {SHORTEST} characters. A few words in a row make a good one."
    if len(password) > LONGEST:
        return f"The password has more than {LONGEST} characters."
    if len(set(password)) < 4:
        return "The password repeats very few characters. A few words in a row make a good one."
    if len(password.lower().replace(name, "")) < SHORTEST // 2:
        return "The password is little more than the user name."
    return None
