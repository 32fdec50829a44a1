"""Plays the conversations between real cores and writes them down."""

from __future__ import annotations

from penstock.tunnel.agent_exchange import AgentEvent, Started
from penstock.tunnel.agent_exchange import Exchange as Held
from penstock.tunnel.codec import Decoder
from penstock.tunnel.link import Link
from penstock.tunnel.origin_exchange import DataArrived, NotStarted, OriginEvent, OutcomeUnknown
from tests.harness import wire
from tests.vectors.values import Json, packed

BOOT = bytes(range(16))


class Recorder:
    """Plays a conversation between real cores and writes down what each end does, says and is told."""

    def __init__(self) -> None:
        self.steps: list[Json] = []
        self.origin = wire.OriginEnd(BOOT, self.of_origin)
        self.agent = wire.AgentEnd("pump-house", 7, self.of_agent)
        self.links: dict[int, tuple[wire.OriginPort, wire.AgentPort]] = {}
        self.held: list[Held] = []
        self.arrived = 0

    def of_origin(self, event: OriginEvent) -> None:
        told: dict[str, Json] = {"at": "origin", "told": type(event).__name__, "key": str(event.exchange.key.seq)}
        if isinstance(event, DataArrived):
            told["bytes"] = len(event.data)
        if isinstance(event, NotStarted | OutcomeUnknown):
            told["reason"] = None if event.reason is None else event.reason.name.lower()
        self.steps.append(told)

    def of_agent(self, event: AgentEvent) -> None:
        told: dict[str, Json] = {"at": "agent", "told": type(event).__name__, "key": str(event.exchange.key.seq)}
        if isinstance(event, Started):
            self.held.append(event.exchange)
            told["body"] = packed(event.body)
        self.steps.append(told)

    def up(self, number: int) -> None:
        near, far = self.links[number] = wire.direct(self.origin, self.agent)
        self.steps.append({
            "link": number, "up": True, "hello": packed(wire.hello("pump-house", 7).encode()),
            "welcome": packed(wire.welcome(BOOT).encode()),
        })  # fmt: skip
        self.origin.dispatch()

    def open(self, number: int, body: bytes) -> None:
        request = wire.request(body)
        self.steps.append({
            "at": "origin", "does": "open", "link": number, "body": packed(body), "site": request.site,
            "server": request.server, "headers": [list(h) for h in request.headers],
            "principal": packed(request.principal), "deadline_ms": request.deadline_ms,
        })  # fmt: skip
        self.exchange = self.origin.origin.open(request, self.links[number][0].link.number, None)

    def answer(self, body: bytes) -> None:
        self.steps.append({
            "at": "agent", "does": "answer", "status": 200,
            "headers": [["content-type", "application/json"]], "body": packed(body),
        })  # fmt: skip
        agent, held = self.agent.agent, self.held[-1]
        agent.head(held, 200, (("content-type", "application/json"),))
        agent.write(held, body)
        agent.end(held)

    def revoke(self) -> None:
        self.steps.append({"at": "origin", "does": "revoke"})
        self.origin.origin.revoke(self.exchange, 0.0)

    def say(self, who: str, number: int, arrives: str = "now") -> None:
        """All that this end has to say on the link now, as one message."""
        near, far = self.links[number]
        link: Link = near.link if who == "origin" else far.link
        data = link.take(0.0)
        names: list[Json] = [frame.type.name for _, frame in Decoder().feed(data)]
        assert names
        step: dict[str, Json] = {
            "from": who, "link": number, "frames": names, "hex": packed(data), "arrives": arrives,
        }
        self.steps.append(step)
        if arrives == "now":
            self.hear(who, number, data)
        self.last = data

    def hear(self, who: str, number: int, data: bytes) -> None:
        near, far = self.links[number]
        (far if who == "origin" else near).arrived(data)

    def later(self, who: str, number: int, data: bytes) -> None:
        self.steps.append({"late": who, "link": number, "hex": packed(data)})
        self.hear(who, number, data)

    def gone(self, who: str, number: int) -> None:
        self.steps.append({"at": who, "link": number, "gone": True})
        self.links[number][0 if who == "origin" else 1].notice()


def small_call(r: Recorder) -> None:
    r.up(1)
    r.open(1, b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    r.say("origin", 1)
    r.answer(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    r.say("agent", 1)
    r.say("origin", 1)


def long_request(r: Recorder) -> None:
    r.up(1)
    r.open(1, b"a" * 100_000)
    r.say("origin", 1)
    r.say("agent", 1)
    while r.links[1][0].pending:
        r.say("origin", 1)
    r.answer(b"{}")
    r.say("agent", 1)
    r.say("origin", 1)


def cut(r: Recorder) -> None:
    r.up(1)
    r.open(1, b"call")
    r.say("origin", 1)
    r.answer(b"b" * 20_000)
    r.say("agent", 1, arrives="never")
    r.gone("origin", 1)
    r.gone("agent", 1)
    r.up(2)
    r.say("origin", 2)
    while r.links[2][1].pending:
        r.say("agent", 2)
    r.say("origin", 2)


def fence(r: Recorder) -> None:
    r.up(1)
    r.open(1, b"call")
    r.say("origin", 1, arrives="never")
    r.gone("origin", 1)
    r.up(2)
    r.say("origin", 2)
    r.say("agent", 2)
    r.gone("agent", 1)
    r.open(2, b"call")
    r.say("origin", 2)
    r.answer(b"answer")
    r.say("agent", 2)
    r.say("origin", 2)


def stale(r: Recorder) -> None:
    r.up(1)
    r.open(1, b"call")
    r.say("origin", 1, arrives="late")
    late = r.last
    r.gone("origin", 1)
    r.up(2)
    r.say("origin", 2)
    r.say("agent", 2)
    r.later("origin", 1, late)
    r.say("agent", 1, arrives="never")
    r.gone("agent", 1)


def revoked(r: Recorder) -> None:
    r.up(1)
    r.open(1, b"call")
    r.say("origin", 1)
    r.revoke()
    r.say("origin", 1, arrives="never")
    r.gone("origin", 1)
    r.gone("agent", 1)
    r.up(2)
    r.say("origin", 2)
    r.say("agent", 2)
    r.say("origin", 2)


CONVERSATIONS = {
    "a small call": (small_call, "Three frames, and PRINCIPAL before the first call of somebody on a link."),
    "a long request": (long_request, "64 KiB are free; CREDIT grants the rest in one step."),
    "cut after END": (cut, "The answer was sent into a link that died. ATTACH asks for it over another one."),
    "an unknown key": (fence, "OPEN was lost with its link: END{unknown} proves it, and another key is tried."),
    "a stale OPEN": (stale, "As before, but OPEN lies in a buffer and is read afterwards: it must not start."),
    "revoked": (revoked, "DONE{revoked} is lost, and said again behind ATTACH until an END comes back."),
}


def conversations() -> Json:
    made: list[Json] = []
    for name, (play, comment) in CONVERSATIONS.items():
        recorder = Recorder()
        play(recorder)
        made.append({"name": name, "comment": comment, "steps": recorder.steps})
    return made
