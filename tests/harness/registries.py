"""An npm registry and a PyPI of our own, on one loopback port: packages that are servers."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

NODE_SERVER = """#!/usr/bin/env node
require("readline").createInterface({input: process.stdin}).on("line", line => {
  const m = JSON.parse(line)
  const r = m.method === "initialize" ? {protocolVersion: "2025-11-25", capabilities: {tools: {}},
    serverInfo: {name: "noded", version: require("./package.json").version}}
    : m.method === "tools/list" ? {tools: [{name: "one"}]} : null
  if (r) console.log(JSON.stringify({jsonrpc: "2.0", id: m.id, result: r}))
})
"""

PYTHON_SERVER = """
import json, sys
def main():
    for line in sys.stdin:
        m = json.loads(line)
        if m.get("method") == "initialize":
            r = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                 "serverInfo": {"name": "pyd", "version": "VERSION"}}
        elif m.get("method") == "tools/list":
            r = {"tools": [{"name": "one"}, {"name": "two"}]}
        else:
            continue
        print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


@dataclass
class Registry:
    """What there is to be had. ``asked``: the paths of requests."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    _npm: dict[str, dict[str, object]] = field(default_factory=dict)
    _pypi: dict[str, dict[str, str]] = field(default_factory=dict)
    _files: dict[str, bytes] = field(default_factory=dict)

    @property
    def environ(self) -> Mapping[str, str]:
        """For the clients."""
        return {
            "npm_config_registry": self.url,
            "PIP_INDEX_URL": f"{self.url}/simple/",
            "PIP_NO_CACHE_DIR": "1",
        }

    def npm(self, name: str, version: str, files: Mapping[str, str] | None = None, **package: object) -> None:
        """Publish a package; without ``files``, one that is a server."""
        own = name.rpartition("/")[2]
        about: dict[str, object] = {"name": name, "version": version, "bin": {own: "server.js"}, **package}
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as tar:
            for path, text in {
                "package.json": json.dumps(about),
                **(files or {"server.js": NODE_SERVER}),
            }.items():
                entry = tarfile.TarInfo(f"package/{path}")
                entry.size, entry.mode = len(text.encode()), 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
        path = f"/tarballs/{own}-{version}.tgz"
        self._files[path] = data.getvalue()
        digest = base64.b64encode(hashlib.sha512(data.getvalue()).digest()).decode()
        dist = {"tarball": self.url + path, "integrity": f"sha512-{digest}"}
        if "scripts" in package:
            about["hasInstallScript"] = True
        self._npm.setdefault(name, {})[version] = {**about, "dist": dist}

    def pypi(self, name: str, version: str, scripts: Mapping[str, str] | None = None) -> None:
        """Publish a wheel; ``scripts`` as entry points, by default one that is a server."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        entries = scripts or {name: f"{module}:main"}
        lines = "".join(f"{script} = {target}\n" for script, target in entries.items())
        files = {
            f"{module}.py": PYTHON_SERVER.replace("VERSION", version),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": "[console_scripts]\n" + lines,
        }
        record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as wheel:
            for path, text in {**files, f"{info}/RECORD": record}.items():
                wheel.writestr(path, text)
        path = f"/wheels/{module}-{version}-py3-none-any.whl"
        self._files[path] = data.getvalue()
        self._pypi.setdefault(name, {})[path] = hashlib.sha256(data.getvalue()).hexdigest()

    def answer(self, path: str) -> tuple[str, bytes] | None:
        self.asked.append(path)
        if path in self._files:
            return "application/octet-stream", self._files[path]
        name = path.removeprefix("/").replace("%2f", "/").replace("%2F", "/")
        if name in self._npm:
            versions = self._npm[name]
            return "application/json", json.dumps(
                {"name": name, "dist-tags": {"latest": list(versions)[-1]}, "versions": versions}
            ).encode()
        project = name.removeprefix("simple/").rstrip("/")
        if name.startswith("simple/") and project in self._pypi:
            links = "".join(
                f'<a href="{self.url}{file}#sha256={digest}">{file.rpartition("/")[2]}</a>\n'
                for file, digest in self._pypi[project].items()
            )
            return "text/html", f"<html><body>{links}</body></html>".encode()
        return None


@contextmanager
def registry() -> Iterator[Registry]:
    found = Registry()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = found.answer(self.path)
            self.send_response(404 if answer is None else 200)
            kind, body = answer or ("application/json", b"{}")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
