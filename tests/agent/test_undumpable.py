import os
import subprocess
import sys

import pytest

from tests.harness.confining import NOBODY, ROOT, interpreter

PROGRAM = """
import os, subprocess, sys
from penstock_agent.undumpable import undumpable
if sys.argv[1] == "yes":
    undumpable()
peek = "import sys; open(sys.argv[1], 'rb').read(1)"
for name in ("environ", "maps", "mem"):
    done = subprocess.run([sys.executable, "-c", peek, f"/proc/{os.getpid()}/{name}"], stderr=subprocess.PIPE)
    print(name, "PermissionError" in done.stderr.decode())
"""


@pytest.mark.parametrize("dumpable", ["yes", "no"])
def test_processes_of_the_same_user_do_not_see_into_it(dumpable: str) -> None:
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()  # nothing is hidden from root
    python = interpreter(uid)
    if not python:
        pytest.skip("no Python of this version that another user may run")
    other = uid != os.geteuid()
    done = subprocess.run(
        [python, "-c", PROGRAM, dumpable],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"PYTHONPATH": str(ROOT / "agent")},
        user=uid if other else None,
        group=uid if other else None,
        extra_groups=[] if other else None,
    )
    hidden = dumpable == "yes"
    denied = dict(line.split() for line in done.stdout.splitlines())
    assert denied["environ"] == denied["maps"] == str(hidden), done.stderr
    assert hidden is False or denied["mem"] == "True"


def test_programs_that_it_starts_are_not_concerned() -> None:
    code = (
        "import ctypes, subprocess, sys; from penstock_agent.undumpable import undumpable; undumpable();"
        "ask = 'import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))';"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0));"
        "print(subprocess.check_output([sys.executable, '-c', ask], text=True))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "agent")}
    done = subprocess.check_output([sys.executable, "-c", code], text=True, env=env)
    assert done.split() == ["0", "1"]
