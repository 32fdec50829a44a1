"""``penstock-agent approvals``: the calls that wait for somebody on site."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.lookalike import exact, visible
from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    to_find_the_agent,
)

if TYPE_CHECKING:
    from penstock_agent.control import Approval

IdArgument = Annotated[str, typer.Argument(metavar="REQUEST", help="As approvals list shows it.")]

SHOWN = 2000
"""Characters of arguments that a list shows of each call."""


def list_approvals(
    config: ConfigOption = None, state_dir: StateDirOption = None, json: JsonOption = False
) -> None:
    """Show the calls that wait: who asks for what, with which arguments, and why it needs approval."""
    with problems(json):
        from penstock_agent import control

        path = control.socket_to_ask(to_find_the_agent(config, state_dir)[0])
        found = asyncio.run(control.approvals(path)).requests
        if json:
            import msgspec

            emit({"requests": msgspec.to_builtins(found)})
            return
        if not found:
            say("No call waits for approval.")
            return
        for one in found:
            _show(one)
            say()
        say("Answer: penstock-agent approvals approve REQUEST, or deny REQUEST")


def approve(
    request: IdArgument,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Let this one call be carried out, once, or the answer that is kept of it leave."""
    _answer(request, True, config, state_dir, json)


def deny(
    request: IdArgument,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Do not let it be carried out; the caller is told."""
    _answer(request, False, config, state_dir, json)


def show(
    request: IdArgument,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show one call with all of its arguments, and the answer that is kept of it."""
    with problems(json):
        from penstock_agent import control

        path = control.socket_to_ask(to_find_the_agent(config, state_dir)[0])
        (found,) = asyncio.run(control.approvals(path, request)).requests
        if json:
            import msgspec

            emit(msgspec.to_builtins(found))
            return
        _show(found, whole=True)


def _answer(id: str, approved: bool, config: ConfigOption, state_dir: StateDirOption, json: bool) -> None:
    with problems(json):
        from penstock_agent import control

        path = control.socket_to_ask(to_find_the_agent(config, state_dir)[0])
        done = asyncio.run(control.approve(path, id, approved))
        if json:
            import msgspec

            emit(msgspec.to_builtins(done))
            return
        item = f"{visible(done.item)} of {done.server or 'the site'}"
        what = f"{_who(done)} may use {item}"
        if approved and done.answer_bytes:
            say(
                f"Approved: {_who(done)} may collect the {item} once, by the same call, "
                f"within {_minutes(done)}."
            )
        elif approved:
            say(f"Approved: {what} once with these arguments, within {_minutes(done)}.")
        else:
            say(f"Denied: {_who(done)} is told so.")


def _show(one: Approval, whole: bool = False) -> None:
    state = "waits" if one.state == "waiting" else f"{one.state} by uid {one.by_uid}, not used yet"
    say(f"{one.id}  {visible(one.item)} of {one.server or 'the whole site'}: {state}")
    say(f"  who        {_who(one)}")
    say(f"  client     {visible(one.client) or 'unknown'}")
    say(f"  why        {visible(one.why)}")
    ago = max(0, int(time.time() - one.asked_at))
    say(f"  asked      {ago} s ago; denied by itself in {_minutes(one)}")
    text = exact(visible(one.arguments))
    cut = one.cut or (len(text) > SHOWN and not whole)
    say(f"  arguments  {text if whole else text[:SHOWN]}")
    if cut:
        say(f"             … not all of it is shown: penstock-agent approvals show {one.id} --json")
    if one.answer_bytes and not whole:
        say(f"  answer     {one.answer_bytes} bytes, kept here: penstock-agent approvals show {one.id}")
    elif one.answer_bytes:
        say(f"  answer     {exact(visible(one.answer))}")
        if len(one.answer.encode()) < one.answer_bytes:
            say(f"             … not all of its {one.answer_bytes} bytes are shown")


def _who(one: Approval) -> str:
    names = [visible(part) for part in (one.name, one.email) if part]
    return f"{', '.join(names)} ({visible(one.subject)})" if names else visible(one.subject)


def _minutes(one: Approval) -> str:
    left = max(0, int(one.expires_at - time.time()))
    return f"{left // 60} min" if left >= 120 else f"{left} s"
