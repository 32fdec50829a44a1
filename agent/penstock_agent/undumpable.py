"""The agent's memory is its own: no process of its user may read it, nor does it get into a core file."""

import ctypes

_SET_DUMPABLE = 4


def undumpable() -> None:
    """/proc/PID/mem, environ and the like become root's, and nobody else may trace this process.

    Programs that it starts are not concerned: an exec sets it anew.
    """
    # It fails for no value but a wrong one.
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)
