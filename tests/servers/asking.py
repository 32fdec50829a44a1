"""How a server of both eras asks the user: while the call waits, or by a result that says what is missing."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Json: TypeAlias = dict[str, Any]
Asked: TypeAlias = types.CallToolRequestParams | types.GetPromptRequestParams

KEY: Final = os.urandom(32)  # of what this process signs


class InputRequired(Exception):
    """Ends a request of the modern era with a question; the client asks again with the answer."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__("input required")
        self.result = result


NEEDS: Final[Mapping[type[object], tuple[str, types.ClientCapabilities, type[types.InputResponse]]]] = {
    types.ElicitRequest: (
        "elicitation",
        types.ClientCapabilities(elicitation=types.ElicitationCapability()),
        types.ElicitResult,
    ),
    types.CreateMessageRequest: (
        "sampling",
        types.ClientCapabilities(sampling=types.SamplingCapability()),
        types.CreateMessageResult,
    ),
    types.ListRootsRequest: (
        "roots",
        types.ClientCapabilities(roots=types.RootsCapability()),
        types.ListRootsResult,
    ),
}
"""A question -> the capability that the client must have declared, and what answers it."""


def form(message: str, properties: Json, required: list[str] | None = None) -> types.ElicitRequest:
    schema: Json = {"type": "object", "properties": properties}
    if required is not None:
        schema["required"] = required
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(words: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=words))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def roots() -> types.ListRootsRequest:
    return types.ListRootsRequest(params=types.RequestParams())


def modern(ctx: ServerRequestContext) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def supports(ctx: ServerRequestContext, question: types.InputRequest) -> bool:
    return ctx.session.check_client_capability(NEEDS[type(question)][1])


def demand(ctx: ServerRequestContext, question: types.InputRequest) -> None:
    """Raises MCPError for a client that has not declared that it can answer."""
    if not supports(ctx, question):
        name = NEEDS[type(question)][0]
        data: Json = {"requiredCapabilities": {name: {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, f"This tool needs {name}.", data)


async def ask(
    ctx: ServerRequestContext, params: Asked, questions: types.InputRequests, state: str | None = None
) -> types.InputResponses:
    """The client's answers. `state` comes back with the second call (`opened`). Raises InputRequired."""
    for question in questions.values():
        demand(ctx, question)
    if modern(ctx):
        given = params.input_responses or {}
        if all(isinstance(given.get(key), NEEDS[type(each)][2]) for key, each in questions.items()):
            return given
        signed = None if state is None else sign(state)
        raise InputRequired(types.InputRequiredResult(input_requests=questions, request_state=signed))
    here = ServerMessageMetadata(related_request_id=ctx.request_id)
    answers: types.InputResponses = {}
    for key, question in questions.items():
        answers[key] = await ctx.session.send_request(question, NEEDS[type(question)][2], metadata=here)
    return answers


def sign(state: str) -> str:
    return state + "." + hmac.new(KEY, state.encode(), hashlib.sha256).hexdigest()


def opened(params: Asked) -> str | None:
    """The state that this process signed; None in a first call. Raises MCPError for any other."""
    if params.request_state is None:
        return None
    state = params.request_state.rpartition(".")[0]
    if not hmac.compare_digest(sign(state).encode(), params.request_state.encode()):
        raise MCPError(types.INVALID_PARAMS, "requestState is not one that this server gave.")
    return state


def said(answer: types.InputResponse) -> str:
    """An answer in words."""
    if isinstance(answer, types.ElicitResult):
        return f"action={answer.action}, content={answer.content}"
    if isinstance(answer, types.ListRootsResult):
        return ", ".join(str(root.uri) for root in answer.roots)
    return str(getattr(answer.content, "text", ""))
