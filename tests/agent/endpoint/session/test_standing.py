"""What a session has asked for stands, also when its server is started again."""

from __future__ import annotations

from penstock.envelope import Kind, Message, request
from penstock_agent.endpoint.session.standing import MOST_URIS, Standing
from tests.agent.endpoint.talk import talking
from tests.agent.endpoint.test_lifeline import revived


async def test_subscriptions_and_the_level_are_asked_for_again_and_nobody_sees_the_answers() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        for number, (method, params) in enumerate(
            [
                ("logging/setLevel", {"level": "error"}),
                ("resources/subscribe", {"uri": "a://1"}),
                ("resources/subscribe", {"uri": "a://2"}),
                ("resources/unsubscribe", {"uri": "a://1"}),
            ]
        ):
            asked = talk.call(number, session, method, **params)
            child.answer(await child.heard(method))
            await asked.until_end()
        refused = talk.call(9, session, "resources/subscribe", uri="a://3")
        heard = await child.heard()
        child.say({"jsonrpc": "2.0", "id": heard["id"], "error": {"code": -32602, "message": "no"}})
        await refused.until_end()
        listening = talk.send("GET", session=session)
        await listening.until_head()
        child.die()
        await talk.settle()
        call = talk.call(10, session)
        second = await revived(talk, 2)
        level, uri = await second.heard("logging/setLevel"), await second.heard("resources/subscribe")
        assert (level["params"], uri["params"]) == ({"level": "error"}, {"uri": "a://2"})
        second.answer(level)
        second.say({"jsonrpc": "2.0", "id": uri["id"], "error": {"code": -32602, "message": "not now"}})
        second.answer(await second.heard("tools/call"), {"content": []})
        assert (await call.json())["result"] == {"content": []}
        second.note("notifications/resources/updated", uri="a://2")
        assert (await listening.event())["method"] == "notifications/resources/updated"
        assert talk.endpoint.status().servers["files"].events == {}


def test_there_is_an_end_to_what_is_kept_and_an_answer_counts_once() -> None:
    standing = Standing()
    for number in range(MOST_URIS + 5):
        standing.granted(request(b"1", "resources/subscribe", b'{"uri":"a://%d"}' % number))
    asked = standing.again()
    assert len(asked) == MOST_URIS
    answer = Message(Kind.RESPONSE, asked[0].id, None, None, b"{}", None)
    assert standing.settles(answer)
    assert not standing.settles(answer)
