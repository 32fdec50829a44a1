"""The modern era (2026-07-28): requests that are whole in themselves, over one process for each principal.

In reading order: ``ladder``, ``schemas``, ``flights`` and ``tasks`` (pure), ``process`` (what goes where),
``calls`` (one HTTP response), ``processes`` (all of them), ``modern`` (the era).
"""
