"""A server that speaks only 2026-07-28, as sessions of the handshake era see it: one of theirs.

In reading order: ``translate`` (single messages), ``subscription`` (what the session wants to hear),
``interpreter`` (all of one process; pure), ``lease`` (a share of a process) and
``face`` (the process that sessions talk to).
"""
