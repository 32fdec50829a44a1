"""A server that speaks only 2026-07-28, as sessions of the handshake era see it: one of theirs.

In reading order: ``translate`` (single messages), ``subscription`` (what the session wants to hear),
``interpreter`` (all of one process; pure), ``face`` (the process that sessions talk to).
"""
