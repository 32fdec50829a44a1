"""The tools of the dual-era server. Their names are those that the official conformance suite calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged

from tests.servers.asking import Json, ask, demand, form, modern, opened, roots, said, sample, supports

Context: TypeAlias = ServerRequestContext
Call: TypeAlias = types.CallToolRequestParams
Answer: TypeAlias = str | list[types.ContentBlock]
Function: TypeAlias = Callable[[Context, Call], Awaitable[Answer]]

PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
WAV: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
WATCHED: Final = "test://watched-resource"
LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
NOTHING: Final[Json] = {"type": "object", "properties": {}}


class State:
    """What this process remembers."""

    bus = InMemorySubscriptionBus()
    # Of the handshake era, in which a process has one client:
    subscribed: Final[set[str]] = set()
    log_level = "debug"


TOOLS: Final[dict[str, tuple[types.Tool, Function]]] = {}


def tool(name: str, description: str, schema: Json = NOTHING) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        TOOLS[name] = (types.Tool(name=name, description=description, input_schema=schema), function)
        return function

    return add


def strings(*names: str) -> Json:
    """The schema of arguments that are all strings and all required."""
    return {"type": "object", "properties": {n: {"type": "string"} for n in names}, "required": [*names]}


def text(words: str) -> types.TextContent:
    return types.TextContent(text=words)


def image() -> types.ImageContent:
    return types.ImageContent(data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, words: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(
        resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    )


# -- tools of both revisions


@tool("test_simple_text", "A text.")
async def simple_text(ctx: Context, params: Call) -> Answer:
    return "This is a simple text response for testing."


@tool("test_image_content", "An image.")
async def image_content(ctx: Context, params: Call) -> Answer:
    return [image()]


@tool("test_audio_content", "A sound.")
async def audio_content(ctx: Context, params: Call) -> Answer:
    return [types.AudioContent(data=WAV, mime_type="audio/wav")]


@tool("test_embedded_resource", "A resource inside of a result.")
async def embedded_resource(ctx: Context, params: Call) -> Answer:
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@tool("test_multiple_content_types", "A text, an image and a resource.")
async def mixed_content(ctx: Context, params: Call) -> Answer:
    resource = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return [text("Multiple content types test:"), image(), resource]


async def log(ctx: ServerRequestContext, words: str) -> None:
    if modern(ctx) or LEVELS.index("info") >= LEVELS.index(State.log_level):
        await ctx.session.send_log_message("info", words, "everything", ctx.request_id)


@tool("test_tool_with_logging", "Three log messages on the way.")
async def with_logging(ctx: Context, params: Call) -> Answer:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, words)
        await asyncio.sleep(0.05)
    return "Logged."


@tool("test_logging_tool", "A log message, for who asked for log messages.")
async def logging_tool(ctx: Context, params: Call) -> Answer:
    await log(ctx, "This tool logs.")
    return "Logged."


@tool("test_tool_with_progress", "Three steps.")
async def with_progress(ctx: Context, params: Call) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"{done} of 100")
        await asyncio.sleep(0.05)
    return "Done."


@tool("test_error_handling", "Fails.")
async def error_handling(ctx: Context, params: Call) -> Answer:
    raise RuntimeError("This tool intentionally returns an error for testing")


@tool("test_reconnection", "Takes long enough for a stream to be closed and resumed.")
async def reconnection(ctx: Context, params: Call) -> Answer:
    await asyncio.sleep(1)
    return "Reconnection test completed."


@tool("test_sampling", "Has the client's model answer.", strings("prompt"))
async def sampling(ctx: Context, params: Call) -> Answer:
    answers = await ask(ctx, params, {"sample": sample((params.arguments or {})["prompt"])})
    return f"LLM response: {said(answers['sample'])}"


@tool("test_elicitation", "Asks the user.", strings("message"))
async def elicitation(ctx: Context, params: Call) -> Answer:
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    question = form((params.arguments or {})["message"], fields, ["username", "email"])
    return f"User response: {said((await ask(ctx, params, {'user': question}))['user'])}"


@tool("test_elicitation_sep1034_defaults", "Asks the user, and proposes answers.")
async def elicitation_defaults(ctx: Context, params: Call) -> Answer:
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    answers = await ask(ctx, params, {"user": form("Please check these values.", fields)})
    return f"Elicitation completed: {said(answers['user'])}"


def titled(*pairs: tuple[str, str]) -> list[Json]:
    return [{"const": value, "title": title} for value, title in pairs]


@tool("test_elicitation_sep1330_enums", "Asks the user to choose, in all the ways of choosing.")
async def elicitation_enums(ctx: Context, params: Call) -> Answer:
    plain = ["option1", "option2", "option3"]
    options = titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option"))
    choices = titled(("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice"))
    fields = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": options},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": choices}},
    }
    answers = await ask(ctx, params, {"user": form("Please choose.", fields)})
    return f"Elicitation completed: {said(answers['user'])}"


ADDRESS: Final = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
JSON_SCHEMA: Final[Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@tool("json_schema_2020_12_tool", "Has a schema of many keywords.", JSON_SCHEMA)
async def json_schema(ctx: Context, params: Call) -> Answer:
    return f"Called with {sorted(params.arguments or {})}"


# -- of 2026-07-28 only


@tool(
    "test_x_mcp_header",
    "Has arguments that are headers, too.",
    {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "priority": {"type": "integer", "x-mcp-header": "Priority"},
        },
    },
)
async def x_mcp_header(ctx: Context, params: Call) -> Answer:
    return f"Region {(params.arguments or {}).get('region')}"


@tool("test_missing_capability", "Needs a client that can sample.")
async def missing_capability(ctx: Context, params: Call) -> Answer:
    demand(ctx, sample("anything"))
    return "The client can sample."


@tool("test_streaming_elicitation", "Asks the user after some progress.")
async def streaming_elicitation(ctx: Context, params: Call) -> Answer:
    await ctx.session.report_progress(1, 2, "about to ask")
    return said((await ask(ctx, params, {"name": NAME}))["name"])


# -- changes


@tool("test_trigger_tool_change", "Says that the list of tools has changed.")
async def trigger_tool_change(ctx: Context, params: Call) -> Answer:
    await State.bus.publish(ToolsListChanged())
    if not modern(ctx):
        await ctx.session.send_tool_list_changed()
    return "Said so."


@tool("test_trigger_prompt_change", "Says that the list of prompts has changed.")
async def trigger_prompt_change(ctx: Context, params: Call) -> Answer:
    await State.bus.publish(PromptsListChanged())
    if not modern(ctx):
        await ctx.session.send_prompt_list_changed()
    return "Said so."


@tool("test_trigger_resource_update", f"Says that {WATCHED} has changed, to who subscribed to it.")
async def trigger_resource_update(ctx: Context, params: Call) -> Answer:
    await State.bus.publish(ResourceUpdated(uri=WATCHED))
    if WATCHED in State.subscribed:
        await ctx.session.send_resource_updated(WATCHED)
    return "Said so."


# -- questions


NAME: Final = form("What is your name?", {"name": {"type": "string"}}, ["name"])
COLOUR: Final = form("What is your favourite colour?", {"color": {"type": "string"}}, ["color"])
CONFIRM: Final = form("Please confirm.", {"ok": {"type": "boolean"}}, ["ok"])
CAPITAL: Final = sample("What is the capital of France?")
GREETING: Final = sample("Generate a greeting", 50)


@tool("test_input_required_result_elicitation", "Asks the user's name.")
async def ask_name(ctx: Context, params: Call) -> Answer:
    return f"Hello! {said((await ask(ctx, params, {'user_name': NAME}))['user_name'])}"


@tool("test_input_required_result_sampling", "Asks the client's model.")
async def ask_model(ctx: Context, params: Call) -> Answer:
    return said((await ask(ctx, params, {"capital_question": CAPITAL}))["capital_question"])


@tool("test_input_required_result_list_roots", "Asks for the client's roots.")
async def ask_roots(ctx: Context, params: Call) -> Answer:
    return said((await ask(ctx, params, {"client_roots": roots()}))["client_roots"])


@tool("test_input_required_result_request_state", "Asks, and wants its own state back.")
async def ask_with_state(ctx: Context, params: Call) -> Answer:
    state = opened(params)
    answers = await ask(ctx, params, {"confirm": CONFIRM}, state="asked")
    return f"state-ok: {state}; {said(answers['confirm'])}"


@tool("test_input_required_result_tampered_state", "Asks, and wants exactly its own state back.")
async def ask_with_signed_state(ctx: Context, params: Call) -> Answer:
    return await ask_with_state(ctx, params)


@tool("test_input_required_result_multiple_inputs", "Asks user, model and client at once.")
async def ask_all(ctx: Context, params: Call) -> Answer:
    opened(params)
    questions: types.InputRequests = {"user_name": NAME, "greeting": GREETING, "client_roots": roots()}
    answers = await ask(ctx, params, questions, state="asked")
    return "; ".join(said(answers[key]) for key in questions)


@tool("test_input_required_result_multi_round", "Asks, and asks again.")
async def ask_twice(ctx: Context, params: Call) -> Answer:
    name = opened(params) or "asked"
    if name == "asked":
        name = said((await ask(ctx, params, {"step1": NAME}, state="asked"))["step1"])
    return f"{name}; {said((await ask(ctx, params, {'step2': COLOUR}, state=name))['step2'])}"


@tool("test_input_required_result_capabilities", "Asks what this client can be asked.")
async def ask_what_it_can(ctx: Context, params: Call) -> Answer:
    all_of_them: types.InputRequests = {"user_name": NAME, "greeting": GREETING, "client_roots": roots()}
    questions = {key: each for key, each in all_of_them.items() if supports(ctx, each)}
    if not questions:
        return "This client cannot be asked anything."
    answers = await ask(ctx, params, questions)
    return "; ".join(said(answers[key]) for key in questions)
