"""Installs a package of the npm registry."""

from __future__ import annotations

import os
from collections.abc import Iterator

from penstock_agent.adding.fetch import Fetch, Prepared, read_json
from penstock_agent.problem import Problem


def npm(fetch: Fetch) -> Prepared:
    """Install from the npm registry. Raises Problem."""
    npm = fetch.program("npm", "Install Node.js with npm (apt install npm), for the agent's user to find")
    options = [
        "--no-audit",
        "--no-fund",
        "--omit=dev",
        "--save-exact",
        "--package-lock=true",
        "--loglevel=error",
    ]
    if not fetch.scripts:
        options.append("--ignore-scripts")
    (fetch.folder / "package.json").write_text('{"private": true}\n')
    fetch.run([npm, "install", "--prefix", str(fetch.folder), *options, "--", *fetch.wanted.packages])
    lock = read_json(fetch.folder / "package-lock.json")
    packages = {path: each for path, each in _objects(lock.get("packages")) if path}
    ours = packages.get(f"node_modules/{fetch.wanted.name}")
    if ours is None:
        raise Problem(f"npm installed no package {fetch.wanted.name}. Correct its name in command.")
    program = fetch.folder / "node_modules/.bin" / _program(fetch)
    if not program.exists():
        raise Problem(f"{fetch.wanted.name} has no program {program.name}. Correct it in command.")
    wanting = [
        path.rpartition("node_modules/")[2] for path, each in packages.items() if each.get("hasInstallScript")
    ]
    return Prepared(
        "npm",
        fetch.wanted.name,
        str(ours.get("version", "")),
        str(ours.get("integrity", "")),
        len(packages),
        str(fetch.folder),
        [str(program), *fetch.wanted.arguments],
        scripts=[] if fetch.scripts else wanting,
    )


def _program(fetch: Fetch) -> str:
    """As npx chooses: the one that is there, or the one that is called like the package."""
    if fetch.wanted.program:
        return os.path.basename(fetch.wanted.program)
    package = read_json(fetch.folder / "node_modules" / fetch.wanted.name / "package.json")
    own = fetch.wanted.name.rpartition("/")[2]
    programs = package.get("bin")
    if isinstance(programs, str):
        return own
    names = [os.path.basename(str(name)) for name in programs] if isinstance(programs, dict) else []
    if len(names) == 1:
        return names[0]
    if own in names:
        return own
    which = (
        f"several: {', '.join(names[:10])}. Say which: npx -p {fetch.wanted.name} NAME" if names else "none"
    )
    raise Problem(f"{fetch.wanted.name} should have one program to start, and has {which}.")


def _objects(value: object) -> Iterator[tuple[str, dict[str, object]]]:
    for name, each in value.items() if isinstance(value, dict) else ():
        if isinstance(each, dict):
            yield str(name), each
