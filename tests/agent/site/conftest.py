"""As for the endpoint: a loop whose clock jumps, but for real processes."""

from __future__ import annotations

from tests.agent.endpoint.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
