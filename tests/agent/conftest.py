"""Podman, where it can run something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.harness.images import Images, images


@pytest.fixture(scope="session")
def _images() -> Iterator[Images | str]:
    with ExitStack() as stack:
        try:
            found: Images | str = stack.enter_context(images())
        except RuntimeError as error:
            found = str(error)
        yield found


@pytest.fixture
def podman(_images: Images | str, monkeypatch: pytest.MonkeyPatch) -> Images:
    """One of the tests' own, which this process uses too."""
    if isinstance(_images, str):
        if os.environ.get("CI") == "true" and "there is no podman" in _images:
            pytest.fail(_images)
        pytest.skip(_images)
    for name, value in _images.env.items():
        monkeypatch.setenv(name, value)
    return _images
