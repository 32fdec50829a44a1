"""Whether this agent's ledger is whole, compared with all that is known of it here; and the same in words."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from penstock_agent.ledger import key as keys
from penstock_agent.ledger import verify_main
from penstock_agent.ledger.moments import local
from penstock_agent.ledger.segments import KEPT
from penstock_agent.ledger.verify_main import Result
from penstock_agent.problem import Exit, Problem


def verified(
    state: Path | None,
    folder: Path,
    heads: Sequence[Path],
    key: str | None,
    progress: Callable[[int, int], None],
) -> Result:
    """``state``: the agent's state folder, whose key and kept head are used; None for a copy of a ledger.

    Raises Problem.
    """
    try:
        found = [each for path in heads for each in verify_main.read_heads(path)]
        public = None if key is None else verify_main.read_key(key)
        if state is not None:
            if (state / KEPT).exists():
                found += verify_main.read_heads(state / KEPT)
            if public is None:
                with suppress(Problem):
                    public = keys.load(state, make=False).public
        return verify_main.verify(folder, found, public, keys.checks, progress)
    except verify_main.Unusable as error:
        raise Problem(str(error), Exit.USAGE) from None
    except OSError as error:
        raise Problem(f"{error.filename} cannot be read: {error.strerror}.") from None


def words(result: Result | None) -> str:
    """One sentence or two; None is a ledger that was not looked at."""
    if result is None:
        return "The ledger was not verified."
    if result.bad is not None:
        place = f"{result.bad.file}, line {result.bad.line}, " if result.bad.line else ""
        return (
            f"THE LEDGER IS NOT WHOLE: {place}record {result.bad.n}: {result.bad.what}. "
            "See: penstock-agent ledger verify"
        )
    signed = f", signed up to record {result.signed} of {local(result.signed_at)}" if result.heads else ""
    against = ", and it goes on from what the relay has kept" if result.compared else ""
    return f"The ledger is whole: verified up to record {result.last}{signed}{against}."


def name_of(uid: int) -> str:
    """The user of this machine."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
