"""What a child may use up, in the kernel's own limits. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CPU: Final = 0
_FILE_SIZE: Final = 1
_DATA: Final = 2
_CORE: Final = 4
_PROCESSES: Final = 6
_FILES: Final = 7

SHARED_PROCESSES: Final = 4096
"""For all children together, at least, where the kernel cannot count those of one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes. ``memory``, ``files``, ``cpu_seconds`` and ``file_size`` hold for each process of a
    child, ``processes`` for all of them together, threads counted. None: no limit of ours.

    ``memory`` is what a process may have of its own and writable (RLIMIT_DATA). Address space (RLIMIT_AS) is
    no measure: V8 reserves gigabytes that it never uses. Node 24 counts 0.6 GB here at its start, and 0.5 GB
    for each worker thread.
    """

    memory: int | None = 4 << 30
    processes: int | None = 512
    files: int | None = 4096
    cpu_seconds: int | None = None
    file_size: int | None = None

    def kernel(self, *, counted_apart: bool) -> Iterator[tuple[int, int]]:
        """Numbers of resources and their limits.

        ``counted_apart``: the child is in a user namespace of its own, in which the kernel counts its
        processes; otherwise it counts all of the user's, and all children share one limit.
        """
        yield _CORE, 0
        for resource, limit in (
            (_DATA, self.memory),
            (_FILES, self.files),
            (_CPU, self.cpu_seconds),
            (_FILE_SIZE, self.file_size),
        ):
            if limit is not None:
                yield resource, limit
        if self.processes is not None:
            yield _PROCESSES, self.processes if counted_apart else max(self.processes, SHARED_PROCESSES)
