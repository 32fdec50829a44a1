"""Runs `penstock-agent` as a user without privileges, who gets its folder: `as_nobody.py UID PYTHON …`.

A test runs as root as a rule, and an agent does not; for root, the kernel counts no processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    uid, python, *arguments = sys.argv[1:]
    config = Path(os.environ["PENSTOCK_AGENT_CONFIG"])
    folder = config.parent
    folder.parent.chmod(0o711)
    for place in (folder, *folder.rglob("*")):
        os.chown(place, int(uid), int(uid), follow_symlinks=False)
    # Root's commands read no configuration that another user could have written.
    os.chown(config, 0, int(uid))
    config.chmod(0o640)
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    path = os.pathsep.join(each for each in sys.path if each)
    code = "from penstock_agent.cli import main; main()"
    os.execve(python, [python, "-c", code, *arguments], {**os.environ, "PYTHONPATH": path})


if __name__ == "__main__":
    main()
