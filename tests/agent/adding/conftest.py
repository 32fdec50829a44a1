import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.harness.registries import Registry, registry


@pytest.fixture
def packages() -> Iterator[Registry]:
    with registry() as found:
        yield found


@pytest.fixture
def environ(packages: Registry, tmp_path: Path) -> Mapping[str, str]:
    """An administrator's, with clients that ask our registries."""
    home = tmp_path / "home"
    home.mkdir()
    # npm and node are those of the test environment.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "OTHER_SECRET": "canary", **packages.environ}
