"""Installs a package of PyPI, in a virtual environment of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from penstock_agent.adding.fetch import Fetch, Prepared, read_json
from penstock_agent.problem import Problem


def pypi(fetch: Fetch) -> Prepared:
    """Install from PyPI, with uv where it is to be had. Raises Problem."""
    venv = fetch.folder / "venv"
    python = venv / "bin/python"
    uv = shutil.which("uv", path=fetch.env.get("PATH"))
    integrity = _with_uv(fetch, uv, venv, python) if uv else _with_pip(fetch, venv, python)
    found = dict(_distributions(venv))
    name = _normal(fetch.wanted.name.partition("[")[0])
    if name not in found:
        raise Problem(f"No package {name} was installed. Correct its name in command.")
    version, scripts = found[name]
    program = venv / "bin" / _program(fetch, name, scripts, venv)
    with program.open("rb") as file:
        direct = file.readline(200).rstrip() == b"#!" + os.fsencode(python)
    return Prepared(
        "PyPI",
        name,
        version,
        integrity.get(name, ""),
        len(found.keys() - {"pip", "setuptools"}),
        str(fetch.folder),
        [*([] if direct else [str(python)]), str(program), *fetch.wanted.arguments],
    )


def _with_uv(fetch: Fetch, uv: str, venv: Path, python: Path) -> dict[str, str]:
    which = ["--python", fetch.wanted.python] if fetch.wanted.python else []
    fetch.run([uv, "venv", "--quiet", *which, str(venv)])
    wanted, locked = fetch.folder / "requirements.in", fetch.folder / "requirements.txt"
    wanted.write_text("".join(f"{each}\n" for each in fetch.wanted.packages))
    wheels = [] if fetch.scripts else ["--only-binary", ":all:"]
    of_it = ["--python", str(python), *wheels]
    fetch.run([uv, "pip", "compile", "--quiet", "--generate-hashes", *of_it, str(wanted), "-o", str(locked)])
    fetch.run([uv, "pip", "install", "--quiet", "--require-hashes", *of_it, "-r", str(locked)])
    found: dict[str, list[str]] = {}
    name = ""
    for line in locked.read_text().splitlines():
        if start := re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", line):
            name = _normal(start[1])
        found.setdefault(name, []).extend(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
    return {name: " or ".join(hashes) for name, hashes in found.items()}


def _with_pip(fetch: Fetch, venv: Path, python: Path) -> dict[str, str]:
    chosen = sys.executable
    if fetch.wanted.python:
        version = re.fullmatch(r"(?:python)?(3\.\d{1,2})(?:\.\d+)?", fetch.wanted.python)
        name = f"python{version[1]}" if version else fetch.wanted.python
        chosen = fetch.program(name, "Install it, or uv")
    if importlib.util.find_spec("pip") is not None:
        # Takes a second instead of ten, and Debian's python3-venv is not needed.
        fetch.run([chosen, "-m", "venv", "--without-pip", str(venv)])
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
    else:
        fetch.run(
            [chosen, "-m", "venv", str(venv)], "If it names ensurepip: apt install python3-venv, or uv."
        )
        pip = [str(python), "-m", "pip"]
    report = fetch.folder / "report.json"
    wheels = [] if fetch.scripts else ["--only-binary", ":all:"]
    options = ["--quiet", "--no-warn-script-location", "--report", str(report), *wheels]
    fetch.run([*pip, "install", *options, "--", *fetch.wanted.packages])
    found = {}
    for each in _list(read_json(report).get("install")):
        metadata, archive = each.get("metadata"), each.get("download_info")
        if isinstance(metadata, dict) and isinstance(archive, dict):
            info = archive.get("archive_info")
            hashes = info.get("hashes") if isinstance(info, dict) else None
            if isinstance(hashes, dict):
                found[_normal(str(metadata.get("name")))] = f"sha256:{hashes.get('sha256', '')}"
    return found


def _program(fetch: Fetch, name: str, scripts: list[str], venv: Path) -> str:
    if fetch.wanted.program:
        own = os.path.basename(fetch.wanted.program)
    else:
        own = next((each for each in scripts if _normal(each) == name), "")
        own = own or (scripts[0] if len(scripts) == 1 else "")
    if own and (venv / "bin" / own).exists():
        return own
    if fetch.wanted.program:
        raise Problem(f"{name} has no program {own}. Correct it in command.")
    which = f"several: {', '.join(scripts[:10])}. Say which: uvx --from {name} NAME" if scripts else "none"
    raise Problem(f"{name} should have one program to start, and has {which}.")


def _distributions(venv: Path) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Name -> version, and the programs of each package that is installed."""
    for info in venv.glob("lib/python3*/site-packages/*.dist-info"):
        head = (info / "METADATA").read_text(errors="replace").partition("\n\n")[0]
        name = re.search(r"^Name: *(\S+)", head, re.MULTILINE)
        version = re.search(r"^Version: *(\S+)", head, re.MULTILINE)
        if name and version:
            entries = info / "entry_points.txt"
            text = entries.read_text(errors="replace") if entries.exists() else ""
            part = text.partition("[console_scripts]")[2].partition("\n[")[0]
            scripts = re.findall(r"^\s*([\w.-]+)\s*=", part, re.MULTILINE)
            yield _normal(name[1]), (version[1], scripts)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _list(value: object) -> Iterator[dict[str, object]]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each
