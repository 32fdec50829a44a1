"""Children: the running processes of stdio servers.

In reading order: ``lines`` and ``stderr`` and ``backoff`` (pure), ``environment`` (what a child sees),
``keeper`` (why nothing of a child outlives the agent), ``launcher`` (how a child becomes its command),
``pipes``, ``child``, ``pool``.
"""
