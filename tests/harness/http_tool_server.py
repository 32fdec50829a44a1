"""A real MCP server over HTTP, of the official SDK.

python http_tool_server.py PORT http|sse|json [CERT KEY]
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("http-tools", log_level="WARNING")


@server.tool()
def echo(text: str) -> str:
    """Say it back."""
    return f"echo: {text}"


@server.tool()
def big(mebibytes: int) -> str:
    """Much at once."""
    return "x" * (mebibytes << 20)


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    """Tell of each step."""
    for step in range(count):
        await ctx.report_progress(step + 1, count)
    return f"{count} steps"


@server.tool()
async def hang() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return ""


def main() -> None:
    port, transport, *tls = sys.argv[1:]
    if transport == "sse":
        app = server.sse_app()
    else:
        app = server.streamable_http_app(json_response=transport == "json")
    certificate, key = tls or (None, None)
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), log_level="warning",
        ssl_certfile=certificate, ssl_keyfile=key, timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
