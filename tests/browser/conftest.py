"""One browser for the tests here. Pictures are taken where `PICTURES` names a folder: `./dev pictures`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.harness.chromium import Chromium, programs
from tests.harness.town import Town

if "PICTURES" not in os.environ:
    collect_ignore = ["test_pictures.py"]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Chromium]:
    programs()
    # Which takes seconds to build: only now that it is known to be needed.
    town: Town = request.getfixturevalue("town")
    with closing(Chromium(town.internet, tmp_path_factory.mktemp("profile"))) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chromium) -> Chromium:
    """As if it had just been bought: no cookies, the screen of a desktop."""
    chromium.forget()
    return chromium
