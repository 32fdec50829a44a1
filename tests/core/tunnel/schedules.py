"""One schedule for each rule of the tunnel: the shortest conversation in which its absence shows.

Each function plays one between real cores and asserts what the rule promises. `test_rules` plays them
against the core, `test_mutations` against cores that lack a rule: `python -m tests.core.tunnel.schedules
NAME ...` plays the named ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from penstock.tunnel.frames import DoneReason, EndReason
from tests.core.tunnel.forwarder import Forwarder
from tests.core.tunnel.scene import Scene, lost
from tests.harness import wire


def late_open() -> None:
    """An OPEN that lies in a buffer while its key is asked for never starts: it is fenced, and stale."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    near.pump()
    near.notice()
    wire.settle(*scene.link())
    assert scene.said == ["NotStarted UNKNOWN"]
    far.read()
    assert not scene.started, "it started after it was said that it never would"


def late_open_of_a_dead_origin() -> None:
    """The same, after the origin died: what the agent knows of a boot it keeps for its life."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    near.pump()
    near.notice()
    second = scene.link()
    wire.settle(*second)
    lost(*second)
    scene.agent.clock = 1e9
    scene.agent.agent.tick(1e9)
    scene.origin = wire.OriginEnd(b"p" * 16, scene.of_origin)
    wire.settle(*scene.link())
    far.read()
    assert not scene.started, "it started after it was said that it never would"


def forgotten() -> None:
    """What the agent freed by itself is not denied: it may have run."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    lost(near, far)
    assert scene.agent.agent.due is not None
    scene.agent.agent.tick(scene.agent.agent.due)
    assert not scene.agent.agent.open_exchanges
    wire.settle(*scene.link())
    assert scene.said == ["OutcomeUnknown FORGOTTEN"]


def another_life() -> None:
    """An ATTACH that reaches another life of the agent, by whatever fault: an earlier one may have run it."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    lost(near, far)
    hop = wire.Hop()
    astray = wire.AgentPort(hop, scene.life(2), scene.origin.boot)
    wire.settle(wire.OriginPort(hop, scene.origin, scene.origin.link("a1", 1)), astray)
    assert scene.said == ["OutcomeUnknown WRONG_EPOCH"]


def open_for_another_life() -> None:
    """An OPEN that reaches another life than it was meant for, by whatever fault, is refused."""
    scene = Scene()
    hop = wire.Hop()
    far = wire.AgentPort(hop, scene.life(2), scene.origin.boot)
    near = wire.OriginPort(hop, scene.origin, scene.origin.link("a1", 1))
    scene.call(near.link)
    wire.settle(near, far)
    assert scene.said == ["NotStarted WRONG_EPOCH"]
    assert not scene.started


def reborn() -> None:
    """An origin does not ask a later life of the agent: it knows that the earlier one is over."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    lost(near, far)
    scene.agent = scene.life(2)
    near, far = scene.link()
    scene.origin.dispatch()
    assert scene.said == ["OutcomeUnknown None"]
    assert not near.pending


def last_word() -> None:
    """A failure that was said into a link that died is said again."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    near.hop.cut = True
    scene.agent.agent.end(scene.started[0], EndReason.FAILED)
    far.pump()
    lost(near, far)
    wire.settle(*scene.link())
    assert scene.said == ["OutcomeUnknown FAILED"]


def head_again() -> None:
    """A head that went into a link that died comes again."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    near.hop.cut = True
    scene.agent.agent.head(scene.started[0], 200, ())
    far.pump()
    lost(near, far)
    wire.settle(*scene.link())
    assert scene.said == ["HeadArrived"]


def end_again() -> None:
    """An answer that went into a link that died comes again, with its end."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    near.hop.cut = True
    scene.give()
    far.pump()
    lost(near, far)
    wire.settle(*scene.link())
    assert scene.said == ["HeadArrived", "Answered"]
    assert scene.answer == b"answer"


def data_again() -> None:
    """What the origin had not received of an answer comes again, from there on."""
    scene = Scene()
    near, far = scene.link()
    exchange = scene.call(near.link)
    wire.settle(near, far)
    scene.give(bytes(40_000))
    far.pump()
    near.read(1)
    lost(near, far)
    assert 0 < len(scene.answer) < 40_000
    scene.taken(exchange, len(scene.answer))
    wire.settle(*scene.link())
    assert scene.said == ["HeadArrived", "Answered"]
    assert scene.answer == bytes(40_000)


def credit_with_attach() -> None:
    """A CREDIT that is lost with its link is in the ATTACH on the next one."""
    scene = Scene()
    near, far = scene.link()
    exchange = scene.call(near.link)
    wire.settle(near, far)
    scene.give(bytes(80_000))
    wire.settle(near, far)
    assert len(scene.answer) == 65_536
    near.hop.cut = True
    scene.taken(exchange, 65_536)
    near.pump()
    lost(near, far)
    wire.settle(*scene.link())
    assert scene.said == ["HeadArrived", "Answered"]


def credit_while_attaching() -> None:
    """What a caller takes between ATTACH and the repeated HEAD makes room as well."""
    scene = Scene()
    near, far = scene.link()
    exchange = scene.call(near.link)
    wire.settle(near, far)
    scene.give(bytes(80_000))
    wire.settle(near, far)
    lost(near, far)
    near, far = scene.link()
    near.pump()
    scene.taken(exchange, 65_536)
    wire.settle(near, far)
    assert scene.said == ["HeadArrived", "Answered"]


def request_again() -> None:
    """What the agent lacks of a request comes again: its CREDIT says from where."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link, bytes(20_000))
    near.pump()
    far.read(2)  # PRINCIPAL and OPEN; the rest, with the END, is lost
    lost(near, far)
    assert not scene.started
    wire.settle(*scene.link())
    assert [held.received for held in scene.started] == [20_000]


def counter() -> None:
    """An ATTACH that was overtaken by a later one does not take the exchange back to a dead link."""
    scene = Scene()
    first, second, third = scene.link(), scene.link(), scene.link()
    scene.call(first[0].link)
    wire.settle(*first)
    for near, _ in (third, first):  # the second is what is left
        near.notice()
    second[0].pump()
    second[0].notice()
    fourth = scene.link()
    wire.settle(*fourth)
    second[1].read()
    second[1].notice()
    scene.give()
    wire.settle(*fourth)
    assert scene.said == ["HeadArrived", "Answered"]


def handed_over() -> None:
    """The END of a request counts as sent once the transport has it, whatever its buffers do with it."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    near.pump()
    near.notice()
    assert not scene.said
    far.read()
    assert scene.started
    far.notice()
    scene.give()
    wire.settle(*scene.link())
    assert scene.said == ["HeadArrived", "Answered"]


def lost_link() -> None:
    """LOST without a boot: the link of the agent behind a forwarder is gone for the origin."""
    scene = Scene()
    forwarder = Forwarder()
    pair = forwarder.pair(scene.origin)
    hop = forwarder.link(scene.agent)
    scene.call(next(iter(pair[0].links.values())))
    wire.settle(*pair, *hop)
    scene.give()
    lost(*hop)
    wire.settle(*pair, *scene.link())
    assert scene.said == ["HeadArrived", "Answered"]


def lost_boot() -> None:
    """LOST with a boot: no DONE of that origin will come over this link of the agent."""
    scene = Scene()
    forwarder = Forwarder()
    pair = forwarder.pair(scene.origin)
    hop = forwarder.link(scene.agent)
    exchange = scene.call(next(iter(pair[0].links.values())))
    wire.settle(*pair, *hop)
    scene.origin.origin.done(exchange, DoneReason.CLIENT_GONE)
    lost(*pair)
    wire.settle(*hop)
    assert scene.agent.agent.due is not None, "it holds the exchange for ever"
    scene.agent.agent.tick(scene.agent.agent.due)
    assert not scene.agent.agent.open_exchanges


def overlap() -> None:
    """Frames of an older link that come through a forwarder, and the repeat of the same bytes."""
    scene = Scene()
    forwarder = Forwarder()
    old = forwarder.pair(scene.origin)
    hop = forwarder.link(scene.agent)
    scene.call(next(iter(old[0].links.values())))
    wire.settle(*old, *hop)
    scene.agent.agent.head(scene.started[0], 200, ())
    scene.agent.agent.write(scene.started[0], b"first ")
    hop[1].pump()
    new = forwarder.pair(scene.origin)
    old[0].notice()
    new[0].pump()  # ATTACH, which has nothing yet
    scene.agent.agent.write(scene.started[0], b"second")
    wire.settle(hop[0], *new)  # the head and the first bytes, as they were sent before
    assert scene.answer == b"first "
    hop[1].read()  # LOST and ATTACH: both pieces are sent again, as one
    scene.agent.agent.end(scene.started[0])
    wire.settle(*hop, *new)
    assert scene.answer == b"first second"
    assert scene.said == ["HeadArrived", "Answered"]


def data_before_head() -> None:
    """Bytes of an older link whose head was lost with it are no fault of the agent's."""
    scene = Scene()
    forwarder = Forwarder()
    old = forwarder.pair(scene.origin)
    hop = forwarder.link(scene.agent)
    scene.call(next(iter(old[0].links.values())))
    wire.settle(*old, *hop)
    scene.agent.agent.head(scene.started[0], 200, ())
    hop[1].pump()
    hop[0].read()  # into the old pair, where it stays
    new = forwarder.pair(scene.origin)
    old[0].notice()
    new[0].pump()
    scene.agent.agent.write(scene.started[0], b"answer")
    scene.agent.agent.end(scene.started[0])
    hop[1].pump()
    wire.settle(*hop, *new)
    assert scene.said == ["HeadArrived", "Answered"]
    assert scene.answer == b"answer"


def done() -> None:
    """DONE frees what the agent holds."""
    scene = Scene()
    near, far = scene.link()
    scene.call(near.link)
    wire.settle(near, far)
    scene.give()
    wire.settle(near, far)
    assert scene.said == ["HeadArrived", "Answered"]
    assert not scene.agent.agent.open_exchanges


def revoked_again() -> None:
    """A DONE{revoked} that was lost with its link is said again, until the agent has answered it."""
    scene = Scene()
    near, far = scene.link()
    exchange = scene.call(near.link)
    wire.settle(near, far)
    near.hop.cut = True
    assert scene.origin.origin.revoke(exchange, 0.0)
    near.pump()
    lost(near, far)
    assert scene.agent.agent.open_exchanges
    wire.settle(*scene.link())
    assert not scene.agent.agent.open_exchanges
    assert not scene.origin.origin.open_exchanges
    assert not scene.said


def revoked_late() -> None:
    """A DONE{revoked} of an older link is answered where the exchange is now."""
    scene = Scene()
    first, second = scene.link(), scene.link()
    exchange = scene.call(first[0].link)
    wire.settle(*first)
    assert scene.origin.origin.revoke(exchange, 0.0)
    first[0].pump()
    first[0].notice()
    second[0].pump()
    second[1].read(1)  # ATTACH, and not yet the DONE behind it
    first[1].read()
    wire.settle(*second)
    assert not scene.agent.agent.open_exchanges
    assert not scene.origin.origin.open_exchanges, "the origin waits for an END that went elsewhere"


SCHEDULES: dict[str, Callable[[], None]] = {
    played.__name__: played
    for played in (
        late_open, late_open_of_a_dead_origin, forgotten, another_life, open_for_another_life, reborn,
        last_word, head_again, end_again, data_again, credit_with_attach, credit_while_attaching,
        request_again, counter, handed_over, lost_link, lost_boot, overlap, data_before_head, done,
        revoked_again, revoked_late,
    )
}  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[1:]:
        SCHEDULES[name]()
