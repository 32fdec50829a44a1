"""A canary in everything that a site has: only those of what was called and allowed are on the wire."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import socket
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.test_canary import Secrets, hits, written
from tests.harness.conversing.callers import conversation
from tests.harness.conversing.conversation import Conversation
from tests.harness.conversing.handshake import WithSession
from tests.harness.stack import SOURCES, Server, Stack
from tests.proofs import recorder
from tests.proofs.account import answers, payload
from tests.proofs.canaries import seen
from tests.proofs.reporting import report
from tests.proofs.tap import Tap

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

SEED = int(os.environ.get("PENSTOCK_PROOF_SEED", "1"))
ROUNDS = int(os.environ.get("PENSTOCK_PROOF_CANARY_ROUNDS", "20"))
CALLERS = ("2024-11-05-sse", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
EXPOSED = ("tool:allowed", "tool:late", "tool:wrong", "resource:file:///allowed", "prompt:greet")
DEFINITIONS = {
    f"{kind}:{tool}"
    for tool in ("allowed", "late", "wrong")
    for kind in ("title", "description", "schema", "meta")
}

Op = Callable[[Conversation], Awaitable[None]]


def asking(method: str, **params: object) -> Op:
    async def op(caller: Conversation) -> None:
        await caller.request(method, dict(params))

    return op


async def cancelled(caller: Conversation) -> None:
    """The server answers as soon as it hears that it need not."""
    async with asyncio.TaskGroup() as tasks:
        id = f"late-{secrets.token_hex(4)}"
        call = tasks.create_task(caller.request("tools/call", {"name": "late", "arguments": {}}, id=id))
        await asyncio.sleep(0.2)
        if isinstance(caller, WithSession):
            await caller._say({"method": "notifications/cancelled", "params": {"requestId": id}})
            await asyncio.wait((call,), timeout=1)
        call.cancel()


async def given_up(caller: Conversation) -> None:
    """The connection ends, which cancels in one era and does not in the other."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await caller.request("tools/call", {"name": "late", "arguments": {}})


REF: Final = {"type": "ref/prompt", "name": "greet"}
OPS: Final[dict[str, tuple[Op, set[str]]]] = {
    "the list of tools": (asking("tools/list"), DEFINITIONS),
    "an allowed tool": (asking("tools/call", name="allowed", arguments={"word": "x"}), {"result:allowed"}),
    "an allowed tool that fails": (asking("tools/call", name="wrong", arguments={}), {"result:wrong"}),
    "a tool that is not exposed": (asking("tools/call", name="hidden", arguments={}), set()),
    "another one": (asking("tools/call", name="danger", arguments={"word": "allowed"}), set()),
    "a tool that there is not": (asking("tools/call", name="none", arguments={}), set()),
    "a call that is cancelled": (cancelled, set()),
    "a call that is given up": (given_up, set()),
    "the list of resources": (asking("resources/list"), {"name:file:///allowed"}),
    "the list of templates": (asking("resources/templates/list"), set()),
    "an allowed resource": (asking("resources/read", uri="file:///allowed"), {"content:file:///allowed"}),
    "a resource that is not exposed": (asking("resources/read", uri="file:///hidden"), set()),
    "the list of prompts": (asking("prompts/list"), {"prompt:greet"}),
    "an allowed prompt": (asking("prompts/get", name="greet"), {"said:greet"}),
    "a prompt that is not exposed": (asking("prompts/get", name="hidden"), set()),
    "a completion": (
        asking("completion/complete", ref=REF, argument={"name": "x", "value": "y"}),
        {"completion"},
    ),
    "a completion of what is not exposed": (
        asking("completion/complete", ref={**REF, "name": "hidden"}, argument={"name": "x", "value": "y"}),
        set(),
    ),
    "a method that nobody knows": (asking("shell/exec", command="id"), set()),
    "wrong parameters": (asking("tools/call", name="*", arguments="x"), set()),
}


@dataclass
class Place:
    tap: Tap
    stack: Stack
    canaries: dict[str, str]
    """By what they are of; "open …" and "shut …" are the servers'."""
    outside: set[str]
    """Those of what no answer has: never to be seen."""

    def since(self, mark: dict[int, int], keys: set[Any]) -> list[bytes]:
        """What the agent has sent, as it was and as answers put together."""
        links = [capture for capture in self.tap.captures if capture.up.startswith(b"GET /link ")]
        raw = [payload(capture)[mark.get(capture.number, 0) :] for capture in links]
        return raw + [body for key, body in answers(links).items() if key not in keys]

    def mark(self) -> tuple[dict[int, int], set[Any]]:
        links = [capture for capture in self.tap.captures if capture.up.startswith(b"GET /link ")]
        return {capture.number: len(payload(capture)) for capture in links}, set(answers(links))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    seed = secrets.token_hex(8)
    recorder.SEED = seed
    canaries, outside = {}, {}
    for name in ("open", "shut"):
        recorder.NAME = name
        for tool in recorder.TOOLS:
            for kind in ("title", "description", "schema", "meta", "result"):
                canaries[f"{name} {kind}:{tool}"] = recorder.canary(f"{kind}:{tool}")
        for uri in recorder.RESOURCES:
            for kind in ("name", "content"):
                canaries[f"{name} {kind}:{uri}"] = recorder.canary(f"{kind}:{uri}")
        for prompt in recorder.PROMPTS:
            for kind in ("prompt", "said"):
                canaries[f"{name} {kind}:{prompt}"] = recorder.canary(f"{kind}:{prompt}")
        for kind in ("instructions", "template", "completion", "method:shell/exec"):
            canaries[f"{name} {kind}"] = recorder.canary(kind)
        for kind in ("stderr", "folder", "file name", "file content"):
            outside[f"{name} {kind}"] = recorder.canary(kind)
    for kind in ("environment", "argument", "comment", "path", "variable of the agent"):
        outside[kind] = secrets.token_hex(16)
    if len(socket.gethostname()) >= 8:
        outside["host name"] = socket.gethostname()
    folder = tmp_path_factory.mktemp("servers") / outside["path"]
    folder.mkdir()
    program = folder / "recorder.py"
    shutil.copy(recorder.__file__, program)
    more = {"CANARY": outside["environment"]}
    places = (*SOURCES, folder)
    servers = {
        name: Server(
            [sys.executable, "-S", str(program), seed, name, outside["argument"]], expose, more, read=places
        )
        for name, expose in (("open", EXPOSED), ("shut", ()))
    }
    agent_env = {"PENSTOCK_AGENT_LOG_LEVEL": "debug", "UNRELATED": outside["variable of the agent"]}
    with (
        Tap() as tap,
        tap.stack(servers, agent_env=agent_env, relay_env={"PENSTOCK_RELAY_LOG_LEVEL": "debug"}) as stack,
    ):
        config = stack.agent.config
        config.write_text(f"# {outside['comment']}\n{config.read_text()}")
        stack.agent.program.stop()
        stack.agent.start()
        yield Place(tap, stack, {**canaries, **outside}, set(outside))


async def played(place: Place, client: str, names: list[str]) -> tuple[set[str], set[str]]:
    """Canaries that may be seen after these calls, and those that are."""
    mark, keys = place.mark()
    may = {"open instructions"}
    async with asyncio.timeout(60), conversation(client, place.stack, "open") as caller:
        for name in names:
            op, shows = OPS[name]
            may |= {f"open {kind}" for kind in shows}
            try:
                async with asyncio.timeout(10):
                    await op(caller)
            except TimeoutError:
                raise AssertionError(f"{client}: {name} takes for ever") from None
    for _ in range(
        20
    ):  # what the relay has told its callers has come through the tap; what nobody waits for, has time
        await asyncio.sleep(0.01)
    return may, seen(place.canaries, place.since(mark, keys))


async def test_only_canaries_of_what_was_called_and_allowed_are_on_the_wire(
    place: Place, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    everything: set[str] = set()
    found, must, wrong, missing, calls = set(), set(), [], [], 0
    for number in range(ROUNDS):
        client = CALLERS[number % len(CALLERS)]
        names = dice.sample(list(OPS), dice.randrange(0, 7))
        calls += len(names)
        may, there = await played(place, client, names)
        everything |= may
        found |= there
        wrong += [f"round {number}, {client}, {names}: {name}" for name in sorted(there - may)]
        asked = may - {"open instructions"}
        must |= asked
        # The other way round: the search does find what there is.
        missing += [f"round {number}, {client}, {names}: {name}" for name in sorted(asked - there)]
    stack = place.stack
    ops = await asyncio.to_thread(metrics, stack)
    log = stack.agent.program.log.read_bytes()
    known = Secrets({name: secret.encode() for name, secret in place.canaries.items() if name != "host name"})
    at_the_relay = hits(known, {**written(stack.folder), "metrics": ops})
    payloads = [
        n
        for n in place.canaries
        if n.split(" ")[-1].partition(":")[0] in ("result", "content", "said", "completion")
    ]
    in_the_log = seen({name: place.canaries[name] for name in payloads}, [log])
    figures = {
        "seed": SEED,
        "rounds": ROUNDS,
        "calls": calls,
        "callers": CALLERS,
        "canaries": len(place.canaries),
        "forms in which each is looked for": len(forms_of(next(iter(place.canaries.values())))),
        "seen on the wire": sorted(found),
        "of them not called and allowed in their round": wrong,
        "called and allowed, and not seen": missing,
        "of environment, arguments, paths, files, host, standard error, seen": sorted(found & place.outside),
        "in what the relay wrote (log, database, metrics)": at_the_relay,
        "of results, resources and prompts in the agent's log": sorted(in_the_log),
    }
    report(tmp_path, "canaries", figures)
    assert wrong == []
    assert missing == []
    assert found & place.outside == set()
    assert must <= found
    assert at_the_relay == []
    assert in_the_log == set()


def forms_of(secret: str) -> set[bytes]:
    from tests.proofs.canaries import shapes

    return shapes(secret)


def metrics(stack: Stack) -> bytes:
    with urllib.request.urlopen(f"http://{stack.relay.env['PENSTOCK_RELAY_OPS_LISTEN']}/metrics") as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("form", range(8))
def test_a_canary_is_found_in_every_form(form: int) -> None:
    import base64

    secret = secrets.token_hex(16)
    text = f"some words {secret} and more"
    written_ = [
        text.encode(),
        text.encode().hex().encode(),
        base64.b64encode(text.encode()),
        text.upper().encode(),
        "".join(f"\\u{ord(c):04x}" for c in text).encode(),
        text[::-1].encode(),
        text.encode("utf-16-le"),
        secret[:20].encode() + b'"}\n\n{"' + secret[20:].encode(),
    ][form]
    assert seen({"it": secret, "other": secrets.token_hex(16)}, [b"x" * form, written_]) == {"it"}
