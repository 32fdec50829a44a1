"""MCP servers of the local network: a child whose lines go over HTTP instead of pipes.

In reading order: ``address``, ``headers``, ``spec`` and ``words`` (what is configured, and what is said about
it), ``sse`` and ``protocol`` (pure: the forms of the two HTTP transports), ``inbox`` (lines on their way in),
``web`` (the HTTP client), ``channel`` (what both transports share), ``streamable`` and ``twoway`` (one each),
``remotes`` (all of them).
"""
