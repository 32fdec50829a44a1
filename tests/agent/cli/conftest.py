import os
from pathlib import Path

import pytest

from tests.harness.agent_site import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in list(os.environ):
        if name.startswith("PENSTOCK_AGENT_") or name.lower() == "https_proxy" or name == "RUNTIME_DIRECTORY":
            monkeypatch.delenv(name)
    made = Site(tmp_path)
    made.configure("")
    return made
