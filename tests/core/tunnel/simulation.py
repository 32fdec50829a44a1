"""Random lives of a whole tunnel: real cores, a wire that misbehaves, and what must hold at every step.

`World(seed, plan)` runs one of them; `Broken` says which promise was broken, and by which seed. The
promises are those of PROTOCOL.md (and of the model that its rules were checked with): one start per key
and per request, one outcome per call, "not started" for ever, the answer in order, once and complete,
windows kept, and, once nothing is broken any more, everything ends and every table is empty.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from penstock.tunnel.agent_exchange import AgentEvent, Gone, Started
from penstock.tunnel.errors import TunnelError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import DoneReason, EndReason
from penstock.tunnel.limits import MAX_WINDOW
from penstock.tunnel.origin_exchange import (
    Answered,
    DataArrived,
    HeadArrived,
    NotStarted,
    OriginEvent,
    OutcomeUnknown,
)
from penstock.tunnel.states import AgentState
from tests.core.tunnel.forwarder import PairPort
from tests.core.tunnel.network import Network
from tests.core.tunnel.plans import Broken, Call, Plan, Serving, cuts_only, plan
from tests.harness import wire


class World(Network):
    """One life: a scheduler that moves one thing at a time, callers, servers, and the promises."""

    def __init__(self, seed: int, plan: Plan) -> None:
        super().__init__(plan, random.Random(seed))
        self.seed = seed
        self.met: Counter[str] = Counter()
        """What happened in this life, by name."""
        self.started: set[Key] = set()
        self.never: set[Key] = set()
        self.build()

    # -- one life -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises Broken, with the seed, when a promise was broken."""
        try:
            for _ in range(self.plan.steps):
                self.step()
                self.check()
            self.finish()
        except (AssertionError, TunnelError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise Broken(f"seed {self.seed}: {type(error).__name__}: {error} ({self.plan})") from error

    def step(self) -> None:
        rng = self.rng
        chance = rng.random()
        if chance < 0.55:
            self.move(rng.choice(self.ports))
        elif chance < 0.68:
            self.call(rng.choice(self.calls))
        elif chance < 0.86:
            if self.serving:
                self.serve(rng.choice(list(self.serving.values())))
        else:
            self.trouble()

    def move(self, port: wire.Port) -> None:
        rng = self.rng
        if port.hop.cut and rng.random() < (0.1 if port.side == self.plan.late else 0.5):
            self.notice(port)
        elif port.pending and rng.random() < 0.5:
            port.pump()
        elif port.readable:
            port.read(rng.choice((1, 1, 2, 1000)))
        elif port.pending:
            port.pump()
        elif port.hop.cut:
            self.notice(port)

    # -- callers ------------------------------------------------------------------------------------

    def call(self, call: Call) -> None:
        if call.outcome:
            return
        if call.exchange is None:
            self.open(call)
        elif call.untaken:
            n = self.rng.choice((1, call.untaken, call.untaken, min(call.untaken, 40_000)))
            call.untaken -= n
            self.origin.origin.taken(call.exchange, n, self.origin.clock)

    def open(self, call: Call) -> None:
        links = [p.link for p in self.ports if isinstance(p, wire.OriginPort) and p.end is self.origin]
        for port in self.ports:
            if isinstance(port, PairPort) and port.end is self.origin:
                links += port.links.values()
        if not links:
            return
        call.attempts += 1
        request = wire.request(call.body, number=call.number)
        call.exchange = self.origin.origin.open(request, self.rng.choice(links).number, call)

    def of_origin(self, event: OriginEvent) -> None:
        call = event.exchange.owner
        assert isinstance(call, Call)
        key = event.exchange.key
        assert event.exchange is call.exchange, f"{type(event).__name__} of another attempt"
        assert not call.outcome, f"{type(event).__name__} after the outcome"
        self.met[type(event).__name__] += 1
        match event:
            case HeadArrived():
                assert not call.headed, "two heads"
                assert key in self.started, "a head without a start"
                call.headed = True
            case DataArrived(data=data):
                assert call.headed, "bytes before the head"
                assert call.answer[call.got : call.got + len(data)] == data, "bytes out of order"
                call.got += len(data)
                call.untaken += len(data)
            case Answered():
                assert call.headed, "answered without a head"
                assert call.got == len(call.answer), "the answer is not whole"
                call.outcome = "answered"
                self.origin.origin.release(event.exchange)
            case NotStarted(reason=reason):
                self.met[f"not started: {reason.name if reason is not None else 'cut'}"] += 1
                self.not_started(call, key)
            case OutcomeUnknown(reason=reason):
                self.met[f"unknown: {reason.name if reason is not None else 'no link'}"] += 1
                call.outcome = "unknown"
                self.origin.origin.release(event.exchange)

    def not_started(self, call: Call, key: Key, *, again: bool = True) -> None:
        assert key not in self.started, "not started, but it was"
        self.never.add(key)
        call.exchange = None
        if not again or call.attempts >= self.plan.attempts:
            assert not call.starts, "not executed, but it was"
            call.outcome = "not executed"

    # -- servers ------------------------------------------------------------------------------------

    def of_agent(self, end: wire.AgentEnd, event: AgentEvent) -> None:
        match event:
            case Started(exchange=held, body=body):
                key = held.key
                call = self.calls[held.open.deadline_ms]
                assert key not in self.started, "a key started twice"
                assert key not in self.never, "started after it was proven that it never would"
                assert not call.starts, "a request started twice"
                assert call.outcome != "not executed", "started after `not executed`"
                assert body == call.body, "the request is not what was sent"
                assert event.principal == wire.CONTENT
                self.started.add(key)
                call.starts += 1
                self.serving[held] = Serving(end, held, call)
            case Gone(exchange=held):
                self.serving.pop(held, None)

    def serve(self, serving: Serving) -> None:
        agent, held, call = serving.end.agent, serving.held, serving.call
        if self.plan.failures and self.rng.random() < 0.15:
            self.plan.failures -= 1
            agent.end(held, EndReason.FAILED)
            del self.serving[held]
        elif not serving.headed:
            agent.head(held, 200, (("content-type", "application/json"),))
            serving.headed = True
        elif serving.written < len(call.answer):
            n = self.rng.choice((100, 30_000, 1 << 20))
            agent.write(held, call.answer[serving.written : serving.written + n])
            serving.written += n
        else:
            agent.end(held)
            del self.serving[held]

    # -- trouble ------------------------------------------------------------------------------------

    def trouble(self) -> None:
        """One thing that goes wrong, while the plan has it."""
        rng, plan = self.rng, self.plan
        kind = rng.randrange(8)
        if kind == 0 and plan.cuts:
            plan.cuts -= 1
            rng.choice(self.ports).hop.cut = True
        elif kind == 1 and plan.agent_crashes:
            plan.agent_crashes -= 1
            self.crash_agent(rng.choice(self.agents))
        elif kind == 2 and plan.origin_crashes:
            plan.origin_crashes -= 1
            self.crash_origin()
        elif kind == 3 and plan.leavers:
            self.leave(rng.choice(self.calls))
        elif kind == 4 and plan.revocations:
            self.revoke(rng.choice(self.calls))
        elif kind == 5 and plan.grace_passes:
            ends: list[wire.OriginEnd | wire.AgentEnd] = [self.origin, *self.agents]
            self.pass_time(rng.choice(ends))
        elif kind == 6 and plan.renewals:
            plan.renewals -= 1
            self.pair()
        elif kind == 7 and rng.random() < 0.3:
            self.new_link(rng.choice(self.agents))

    def leave(self, call: Call) -> None:
        if call.exchange is None or call.outcome:
            return
        self.plan.leavers -= 1
        key = call.exchange.key
        reason = self.rng.choice((DoneReason.CLIENT_GONE, DoneReason.DEADLINE, DoneReason.TOO_SLOW))
        if self.origin.origin.done(call.exchange, reason):
            call.outcome = "unknown"
        else:
            self.not_started(call, key, again=False)

    def revoke(self, call: Call) -> None:
        if call.exchange is None or call.outcome:
            return
        self.plan.revocations -= 1
        key = call.exchange.key
        if self.origin.origin.revoke(call.exchange, self.origin.clock):
            call.outcome = "revoked"
        else:
            self.not_started(call, key, again=False)

    def pass_time(self, end: wire.OriginEnd | wire.AgentEnd) -> None:
        core = end.origin if isinstance(end, wire.OriginEnd) else end.agent
        if core.due is not None:
            end.clock = core.due
            core.tick(end.clock)
            end.dispatch()

    # -- promises -----------------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at every step, beyond what the events assert."""
        for exchange in self.origin.origin._open.values():
            sending, answer = exchange.sending, exchange.answer
            assert sending.next <= sending.limit, "a request above its limit"
            assert sending.sent - sending.have <= MAX_WINDOW, "a request above its window"
            assert answer.taken <= answer.received <= answer.limit <= answer.taken + MAX_WINDOW
        for end in self.agents:
            for held in end.agent._held.values():
                sending = held.sending
                assert sending.next <= sending.limit, "an answer above its limit"
                assert sending.sent - sending.have <= MAX_WINDOW, "an answer above its window"
                assert held.received <= held.granted <= held.open.length
                assert held.state is not AgentState.RUNNING or held.key in self.started

    def finish(self) -> None:
        """No more trouble: every hop that was cut is noticed, every agent gets a link, all must end."""
        for port in list(self.ports):
            if port.hop.cut and port.up:
                self.notice(port)
        self.plan.failures = 0
        for agent in self.agents:
            self.new_link(agent)
        for _ in range(3000):
            if not self.quiet():
                continue
            if all(call.outcome for call in self.calls):
                break
            moved = False
            for call in self.calls:
                if not call.outcome and call.exchange is None:
                    self.open(call)
                    moved = True
            assert moved, f"stuck: {[(c.number, c.exchange and c.exchange.state) for c in self.calls]}"
        else:
            raise AssertionError("it never ends")
        self.empty()

    def quiet(self) -> bool:
        """One round of everything that can move; whether nothing did."""
        moved = False
        for port in list(self.ports):
            if not port.up:
                continue
            if port.hop.cut:
                self.notice(port)
                moved = True
                continue
            if port.pending:
                port.pump()
                moved = True
            if port.readable:
                port.read()
                moved = True
        for serving in list(self.serving.values()):
            if serving.held in self.serving:
                self.serve(serving)
                moved = True
        for call in self.calls:
            if call.untaken and not call.outcome:
                self.call(call)
                moved = True
        self.check()
        return not moved

    def empty(self) -> None:
        """Nothing is left but what waits for a link that will not come."""
        if self.plan.all_answered:
            assert all(c.outcome == "answered" for c in self.calls), "another outcome than the answer"
        origin = self.origin.origin
        assert not origin.open_exchanges, f"the origin still holds {list(origin._open.values())}"
        assert origin._budget.left == origin._budget.total, "a budget was not given back"
        assert all(b.left == b.total for b in origin._agent_budgets.values())
        for end in self.agents:
            for held in end.agent._held.values():
                assert held.link is None, f"the agent holds {held.key} for nobody, {held.state}"
            while end.agent.due is not None:
                self.pass_time(end)
            assert not end.agent.open_exchanges, "the agent still holds something"
            assert end.agent._budget.left == end.agent._budget.total, "a budget was not given back"
            assert not end.agent._grants
        assert not self.serving
        for port in self.ports:
            assert not port.pending


def life(seed: int) -> World:
    """The world of a seed: every fourth has nothing but cuts."""
    return World(seed, (cuts_only if seed % 4 == 0 else plan)(random.Random(seed)))


def live(first: int, lives: int) -> Counter[str]:
    """Runs the worlds of so many seeds; what happened in them, by name. Raises Broken."""
    met: Counter[str] = Counter()
    for seed in range(first, first + lives):
        world = life(seed)
        world.run()
        met.update(world.met)
        met.update(call.outcome for call in world.calls)
    return met


if __name__ == "__main__":
    print(live(int(sys.argv[1]), int(sys.argv[2])))
