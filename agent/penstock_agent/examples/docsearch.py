"""A small MCP server over stdio: search a folder of documents.

    python -m penstock_agent.examples.docsearch FOLDER

Speaks MCP 2025-06-18 and 2025-11-25, one JSON message a line, with the standard library alone, so that it
shows the protocol as it is. `search`, `fetch` and `outline` only read; `delete_document` really deletes.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast
from urllib.parse import quote, unquote

from penstock_agent.examples.library import Document, Library, NoSuchDocument, headings, rank

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Object: TypeAlias = "dict[str, Json]"

REVISIONS = ("2025-11-25", "2025-06-18")  # newest first
SCHEME = "docs:///"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, RESOURCE_NOT_FOUND = -32603, -32002
DEFAULT_HITS, MAX_HITS = 5, 20


class RpcError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _schema(required: dict[str, str], optional: Object | None = None) -> Object:
    properties: Object = {name: {"type": "string", "description": text} for name, text in required.items()}
    properties.update(optional or {})
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_READ: Object = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
_ID = {"id": "The id that `search` or `outline` gave"}
_LIMIT: Json = {"type": "integer", "minimum": 1, "maximum": MAX_HITS, "default": DEFAULT_HITS}
TOOLS: list[Json] = [
    {
        "name": "search",
        "title": "Search the documents",
        "description": "Finds documents for a few words. Best first, each with a snippet and its id.",
        "inputSchema": _schema({"query": "A few words to look for"}, {"limit": _LIMIT}),
        "annotations": _READ,
    },
    {
        "name": "fetch",
        "title": "Read a document",
        "description": "The whole text of one document.",
        "inputSchema": _schema(_ID),
        "annotations": _READ,
    },
    {
        "name": "outline",
        "title": "List the documents",
        "description": "All documents with their titles and headings.",
        "inputSchema": _schema({}),
        "annotations": _READ,
    },
    {
        "name": "delete_document",
        "title": "Delete a document",
        "description": "Removes a document from the disk, for good.",
        "inputSchema": _schema(_ID),
        "annotations": {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": False},
    },
]


class Server:
    """One session with one client. :meth:`line` takes a line from the client; answers go to `send`."""

    def __init__(self, library: Library, send: Callable[[Object], None]) -> None:
        self._library = library
        self._send = send
        self._initialized = False
        self._methods: dict[str, Callable[[Object], Object]] = {
            "initialize": self._initialize,
            "ping": lambda _params: {},
            "tools/list": lambda _params: {"tools": TOOLS},
            "tools/call": self._call,
            "resources/list": self._resources,
            "resources/templates/list": lambda _params: {"resourceTemplates": []},
            "resources/read": self._read,
        }

    def line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._error(None, PARSE_ERROR, "This line is not JSON.")
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._error(None, INVALID_REQUEST, "This is not one JSON-RPC 2.0 message.")
        elif "method" not in message:
            pass  # an answer, and this server asks nothing
        elif "id" in message:
            self._request(message)
        # A notification is never answered, and none of them changes anything here.

    def _request(self, message: Object) -> None:
        id, method, params = message["id"], message["method"], message.get("params", {})
        if isinstance(id, bool) or not isinstance(id, str | int | float):
            self._error(None, INVALID_REQUEST, "The id of a request is a string or a number.")
            return
        try:
            if not isinstance(params, dict):
                raise RpcError(INVALID_PARAMS, "params is an object.")
            known = self._methods.get(method) if isinstance(method, str) else None
            if known is None:
                raise RpcError(METHOD_NOT_FOUND, f"This server has no method {method!r}.")
            if not self._initialized and method not in ("initialize", "ping"):
                raise RpcError(INVALID_REQUEST, "The first request of a session is initialize.")
            self._send({"jsonrpc": "2.0", "id": id, "result": known(params)})
        except RpcError as error:
            self._error(id, error.code, str(error))
        except Exception as error:
            self._error(id, INTERNAL_ERROR, f"The server failed on this request ({type(error).__name__}).")

    def _error(self, id: Json, code: int, text: str) -> None:
        self._send({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}})

    def _initialize(self, params: Object) -> Object:
        asked = params.get("protocolVersion")
        self._initialized = True
        return {
            "protocolVersion": asked if asked in REVISIONS else REVISIONS[0],
            "capabilities": {"tools": {}, "resources": {}},
            "serverInfo": {"name": "docsearch", "title": "Document search", "version": "1.0.0"},
            "instructions": "Search first, then fetch the documents whose snippets fit.",
        }

    # -- tools

    def _call(self, params: Object) -> Object:
        name, arguments = params.get("name"), params.get("arguments", {})
        tools = {
            "search": self._search,
            "fetch": self._fetch,
            "outline": self._outline,
            "delete_document": self._delete,
        }
        if not isinstance(name, str) or name not in tools:
            raise RpcError(INVALID_PARAMS, f"This server has no tool {name!r}.")
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        try:
            if not isinstance(arguments, dict):
                raise ValueError("arguments is an object.")
            return _result(tools[name](arguments, token))
        except (ValueError, OSError) as error:
            # What the model did wrong comes as words it can read, not as a protocol error.
            text = str(error) if isinstance(error, ValueError) else f"The disk refused: {error.strerror}."
            return {"content": [{"type": "text", "text": text}], "isError": True}

    def _search(self, arguments: Object, token: Json) -> Object:
        query = _text(arguments, "query")
        limit = arguments.get("limit", DEFAULT_HITS)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_HITS:
            raise ValueError(f"limit is a whole number from 1 to {MAX_HITS}.")
        documents = []
        total = len(self._library.ids())
        for number, document in enumerate(self._library.documents(), 1):
            documents.append(document)
            self._progress(token, number, max(number, total), f"read {document.id}")
        hits = rank(query, documents, limit)
        return {
            "results": [
                {
                    "id": hit.document.id,
                    "title": hit.document.title,
                    "score": hit.score,
                    "snippet": hit.snippet,
                    "url": _uri(hit.document),
                }
                for hit in hits
            ]
        }

    def _progress(self, token: Json, progress: int, total: int, text: str) -> None:
        if isinstance(token, bool) or not isinstance(token, str | int):
            return
        params: Object = {"progressToken": token, "progress": progress, "total": total, "message": text}
        self._send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    def _fetch(self, arguments: Object, _token: Json) -> Object:
        document = self._library.get(_text(arguments, "id"))
        return {"id": document.id, "title": document.title, "text": document.text, "url": _uri(document)}

    def _outline(self, _arguments: Object, _token: Json) -> Object:
        return {
            "documents": [
                {
                    "id": document.id,
                    "title": document.title,
                    "headings": cast("list[Json]", headings(document)),
                }
                for document in self._library.documents()
            ]
        }

    def _delete(self, arguments: Object, _token: Json) -> Object:
        name = _text(arguments, "id")
        self._library.delete(name)
        return {"deleted": name}

    # -- resources

    def _resources(self, _params: Object) -> Object:
        return {
            "resources": [
                {
                    "uri": _uri(document),
                    "name": document.id,
                    "title": document.title,
                    "mimeType": document.mime_type,
                }
                for document in self._library.documents()
            ]
        }

    def _read(self, params: Object) -> Object:
        uri = params.get("uri")
        if not isinstance(uri, str):
            raise RpcError(INVALID_PARAMS, "resources/read needs a uri.")
        try:
            if not uri.startswith(SCHEME):
                raise NoSuchDocument
            document = self._library.get(unquote(uri.removeprefix(SCHEME)))
        except NoSuchDocument:
            raise RpcError(RESOURCE_NOT_FOUND, f"There is no resource {uri!r}.") from None
        return {"contents": [{"uri": _uri(document), "mimeType": document.mime_type, "text": document.text}]}


def _result(structured: Object) -> Object:
    text = json.dumps(structured, ensure_ascii=False, indent=1)
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured}


def _text(arguments: Object, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"The argument {name} is needed, and it is a text.")
    return value


def _uri(document: Document) -> str:
    return SCHEME + quote(document.id)


def serve(library: Library, source: BinaryIO, target: BinaryIO) -> None:
    """Answer until the client closes its end. JSON in ASCII: no character in it can look like a line end."""

    def send(message: Object) -> None:
        target.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        target.flush()

    server = Server(library, send)
    for line in source:
        if line.strip():
            server.line(line)


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.stderr.write(
            "usage: python -m penstock_agent.examples.docsearch FOLDER\n"
            "FOLDER is a folder of .md or .txt files.\n"
        )
        return 2
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # the client is gone; nothing is left to do
        serve(Library(Path(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
