"""A server of both eras that has everything the official conformance suite asks a server for.

    python -m tests.servers.everything_dual               over stdio
    python -m tests.servers.everything_dual --modern      over stdio, of 2026-07-28 only
    python -m tests.servers.everything_dual --http        over HTTP; its URL is the one line on stdout

What asks the user works in both eras: by a request to the client while the call waits, or by an
`input_required` result and a second call.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from collections.abc import Mapping
from typing import Any, Final

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import SessionMessage

from tests.servers.asking import InputRequired, ask, form, said
from tests.servers.dual_tools import PNG, TOOLS, WATCHED, Context, State, embedded, image, text

# Logging, sampling and roots are what is tried here.
warnings.simplefilter("ignore", MCPDeprecationWarning)

Page = types.PaginatedRequestParams | None


async def list_tools(ctx: Context, params: Page) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[tool for tool, _ in TOOLS.values()])


def input_schema(name: str) -> Mapping[str, Any] | None:
    return TOOLS[name][0].input_schema if name in TOOLS else None


async def call_tool(
    ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    try:
        answer = await TOOLS[params.name][1](ctx, params)
    except InputRequired as required:
        return required.result
    except MCPError:
        raise
    except Exception as error:
        return types.CallToolResult(content=[text(str(error))], is_error=True)
    return types.CallToolResult(content=[text(answer)] if isinstance(answer, str) else answer)


# -- prompts


def argument(name: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, description=f"The argument {name}", required=True)


PROMPTS: Final = (
    types.Prompt(name="test_simple_prompt", description="A text."),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A text with arguments.",
        arguments=[argument("arg1"), argument("arg2")],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A resource and a text.",
        arguments=[argument("resourceUri")],
    ),
    types.Prompt(name="test_prompt_with_image", description="An image and a text."),
    types.Prompt(name="test_input_required_result_prompt", description="Asks the user for the context."),
)
CONTEXT: Final = form("What context should the prompt use?", {"context": {"type": "string"}}, ["context"])


async def list_prompts(ctx: Context, params: Page) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=list(PROMPTS))


async def get_prompt(
    ctx: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    contents: list[types.ContentBlock]
    match params.name:
        case "test_simple_prompt":
            contents = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            contents = [
                text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
            ]
        case "test_prompt_with_embedded_resource":
            uri = given.get("resourceUri", "test://example-resource")
            contents = [
                embedded(uri, "text/plain", "Embedded resource content for testing."),
                text("Please process the embedded resource above."),
            ]
        case "test_prompt_with_image":
            contents = [image(), text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            try:
                answers = await ask(ctx, params, {"user_context": CONTEXT})
            except InputRequired as required:
                return required.result
            contents = [text(f"Use this context: {said(answers['user_context'])}")]
        case _:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    return types.GetPromptResult(
        description=params.name, messages=[types.PromptMessage(role="user", content=c) for c in contents]
    )


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    begun = params.argument.value
    values = [word for word in ("paris", "park", "party", "testing") if word.startswith(begun)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


# -- resources


RESOURCES: Final = (
    types.Resource(
        uri="test://static-text", name="static-text", description="A text.", mime_type="text/plain"
    ),
    types.Resource(
        uri="test://static-binary", name="static-binary", description="An image.", mime_type="image/png"
    ),
    types.Resource(uri=WATCHED, name="watched", description="A text that changes.", mime_type="text/plain"),
)
TEMPLATE: Final = types.ResourceTemplate(
    uri_template="test://template/{id}/data",
    name="template",
    description="Data by number.",
    mime_type="application/json",
)


async def list_resources(ctx: Context, params: Page) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=list(RESOURCES))


async def list_templates(ctx: Context, params: Page) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(resource_templates=[TEMPLATE])


async def read_resource(
    ctx: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult | types.InputRequiredResult:
    uri = params.uri
    head, _, tail = uri.removeprefix("test://template/").partition("/")
    found: types.TextResourceContents | types.BlobResourceContents
    if uri == "test://static-text":
        words = "This is the content of the static text resource."
        found = types.TextResourceContents(uri=uri, mime_type="text/plain", text=words)
    elif uri == "test://static-binary":
        found = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif uri == WATCHED:
        found = types.TextResourceContents(uri=uri, mime_type="text/plain", text="Watched.")
    elif uri.startswith("test://template/") and head and tail == "data":
        words = f'{{"id":"{head}","templateTest":true,"data":"Data for ID: {head}"}}'
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=words)
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[found])


async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    State.subscribed.add(params.uri)
    return types.EmptyResult()


async def unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    State.subscribed.discard(params.uri)
    return types.EmptyResult()


async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    State.log_level = params.level
    return types.EmptyResult()


# -- the server


def build() -> Server:
    return Server(
        "everything-dual",
        version="1.0.0",
        instructions="For tests: everything that a server can have.",
        cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="public")},
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(State.bus),
        on_set_logging_level=set_level,
    )


async def over_stdio(*, modern: bool = False) -> None:
    server = build()
    options = server.create_initialization_options(NotificationOptions(True, True, True))
    async with stdio_server() as (reading, writing):
        if not modern:
            await server.run(reading, writing, options)
            return
        inner, kept = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(without_handshake, reading, inner, writing)
            await server.run(kept, writing, options)


async def without_handshake(
    reading: MemoryObjectReceiveStream[SessionMessage | Exception],
    inner: MemoryObjectSendStream[SessionMessage | Exception],
    writing: MemoryObjectSendStream[SessionMessage],
) -> None:
    """What comes, but for ``initialize``, which is refused as the specification says."""
    async with inner:
        async for each in reading:
            message = None if isinstance(each, Exception) else each.message
            if not isinstance(message, types.JSONRPCRequest) or message.method != "initialize":
                await inner.send(each)
                continue
            told = {"supported": ["2026-07-28"], "requested": "an older one"}
            error = types.ErrorData(code=-32022, message="Unsupported protocol version", data=told)
            refused = types.JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
            await writing.send(SessionMessage(refused))


def over_http() -> None:
    """For the suite without Penstock: what fails there is the server's own fault."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://localhost:{listening.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(build().streamable_http_app(), log_level="error")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    if sys.argv[1:] == ["--http"]:
        over_http()
    else:
        asyncio.run(over_stdio(modern=sys.argv[1:] == ["--modern"]))
