"""The demo behind `./dev demo`: a real MCP client, a relay, an agent and a stdio server, all on this machine.

On a terminal it stays up afterwards, so that another client can be tried; otherwise it ends with status 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
from mcp import Client, MCPError
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.types import CallToolResult
from pydantic import AnyUrl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.harness.person import Person, answered  # noqa: E402 - found through the line above
from tests.harness.stack import SOURCES, Server, Stack, StackError  # noqa: E402 - found through the line above

DOCUMENTS = Path(__file__).with_name("documents")
DEADLINE_S = 30
USER = "alice"
PASSWORD = "three gates and a river"  # noqa: S105 - of a user who lives as long as the demo
INSPECTOR = "npx @modelcontextprotocol/inspector@2.12.0"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Story:
    """Prints what happened, each line with the time since the line before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def step(self, text: str) -> None:
        now = time.perf_counter()
        took, self._last = now - self._last, now
        shown = f"{took:6.2f} s" if took >= 1 else f"{took * 1000:5.0f} ms"
        say(f"  {shown:>8}  {text}")

    @staticmethod
    def detail(text: str) -> None:
        for line in text.splitlines():
            say(f"            {line}")

    @staticmethod
    def title(text: str) -> None:
        say(f"\n{text}")


class Kept:
    """What the client remembers between two requests: how it registered, and its tokens."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


@contextlib.asynccontextmanager
async def assistant(url: str, person: Person, story: Story) -> AsyncIterator[Client]:
    """The Python SDK's client, as an assistant would use it: it is given the URL, and nothing else."""
    callbacks: list[str] = []

    async def redirect(login: str) -> None:
        story.step("the relay asked it to log in; it found out where, and registered itself")
        callbacks.append(await person.allow(login))
        story.step(f"{person.name} logged in, saw who asks for which tools, and allowed them")

    async def callback() -> AuthorizationCodeResult:
        said = answered(callbacks.pop())
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said["iss"])

    metadata = OAuthClientMetadata(
        client_name="Demo assistant", redirect_uris=[AnyUrl("http://127.0.0.1:9/callback")]
    )
    auth = OAuthClientProvider(url, metadata, Kept(), redirect, callback)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=DEADLINE_S) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def talk(url: str, origin: str, invitation: str, story: Story) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        Person(origin, USER, PASSWORD) as person,
    ):
        await person.accept_invitation(invitation)
        story.step(f"{USER} opened the link of the invitation and chose a password")
        async with assistant(url, person, story) as client:
            await ask(client, story)


async def ask(client: Client, story: Story) -> None:
    server = client.server_info.name if client.server_info else "a server without a name"
    story.step(f"connected with MCP {client.protocol_version} to {server}")
    tools = (await client.list_tools()).tools
    story.step(f"tools/list: {', '.join(tool.name for tool in tools)}")

    seen: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(f"{progress:.0f} of {total or 0:.0f}: {message}")

    question = "what bursts a pipe when the gate closes too fast"
    found = await client.call_tool("search", {"query": question, "limit": 2}, progress_callback=note)
    story.step(f"search({question!r}), with {len(seen)} progress notifications on the way")
    story.detail(f"last progress: {seen[-1] if seen else 'none'}")
    results = structured(found)["results"]
    if not isinstance(results, list) or not results:
        raise StackError("the search found nothing")
    for number, hit in enumerate(results, 1):
        story.detail(f"{number}. {hit['title']} ({hit['id']}): {hit['snippet'][:90]}…")

    best = str(results[0]["id"])
    text = str(structured(await client.call_tool("fetch", {"id": best}))["text"])
    story.step(f"fetch({best!r}): {len(text)} characters")
    if text != (DOCUMENTS / best).read_text():
        raise StackError("the fetched text is not the document's")

    try:
        refused = await client.call_tool("delete_document", {"id": best})
    except MCPError as error:
        words = error.error.message
    else:
        if not refused.is_error:
            raise StackError("delete_document was not exposed, and yet it ran")
        words = " ".join(part.text for part in refused.content if part.type == "text")
    story.step(f"delete_document({best!r}), which is not exposed, was refused:")
    story.detail(f"“{words}”")


def reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} {error}".strip()


def structured(result: CallToolResult) -> dict[str, object]:
    if result.is_error or result.structured_content is None:
        raise StackError("the tool answered with an error")
    return dict(result.structured_content)


def stay(stack: Stack, url: str) -> None:
    say(
        f"""
Everything stays up until you press Ctrl-C. Try it from another client:

  URL        {url}
  log in as  {USER}, password {PASSWORD!r}     (clients that open a browser)
  token      {stack.token}     (clients that take a header)

  MCP Inspector (needs Node 22.19 or newer)
    {INSPECTOR} --cli {url} --transport http \\
        --header "Authorization: Bearer {stack.token}" --method tools/list

  Claude Code: it logs in through the browser, with /mcp
    claude mcp add --transport http penstock-demo {url}

  What the site's administrator sees
    PENSTOCK_AGENT_CONFIG={stack.agent.config} \\
    PENSTOCK_AGENT_STATE_DIR={stack.agent.folder / "state"} \\
    PENSTOCK_AGENT_RUNTIME_DIR={stack.agent.folder} {sys.executable.rpartition("/")[0]}/penstock-agent status

  Logs: {stack.folder}/*.log
"""
    )
    while stack.relay.running and stack.agent.program.running:
        time.sleep(0.5)
    raise StackError("the relay or the agent ended by itself; the ends of the logs follow")


def demo(hold: bool, keep: Callable[[Path], Path]) -> None:
    story = Story()
    say("Penstock demo. Relay, agent, server and client are real; the network between them is this machine.")
    documents = keep(DOCUMENTS)
    server = Server(
        [sys.executable, "-m", "penstock_agent.examples.docsearch", str(documents)],
        read=[*SOURCES, documents],
    )

    story.title("The relay, in the cloud, and the agent, behind the firewall")
    with Stack({"docs": server}, site="dam", report=story.step) as stack:
        story.title("The site decides what may be used: penstock-agent expose docs --read-only")
        shown = stack.agent.cli("expose", "docs", "--read-only")
        story.step("exposed")
        story.detail(shown.stdout.strip())

        url = stack.url("docs")
        story.title("The relay's operator lets a person in: penstock-relay user add, access add")
        invitation = stack.relay_cli("user", "add", USER).stdout.strip()
        stack.relay_cli("access", "add", "--user", USER, "--site", stack.site, "--server", "docs")
        story.step(f"{USER} is invited, and may use server docs of site {stack.site}")

        story.title(f"An assistant connects to {url}")
        try:
            asyncio.run(talk(url, stack.public_url, invitation, story))
        except (ExceptionGroup, MCPError, TimeoutError, httpx2.HTTPError) as error:
            raise StackError(f"the client got no answer: {reason(error)}") from None
        if hold:
            stay(stack, url)
        story.title("Stopping")
    story.step("relay and agent stopped, and the server's process with them; nothing is left behind")
    say("\nPASS")


def main() -> int:
    hold = sys.stdin.isatty() and sys.stdout.isatty()

    def stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the tidying up
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        try:
            demo(hold, lambda source: Path(shutil.copytree(source, Path(folder) / source.name)))
        except StackError as error:
            sys.stderr.write(f"\nThe demo failed: {error}\n")
            return 1
        except KeyboardInterrupt:
            say("\nStopped. Nothing is left running.")
            return 0 if hold else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
