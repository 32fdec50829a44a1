"""A caller of 2026-07-28 in front of a server of the handshake era.

In reading order: ``translate`` (messages of one era as messages of the other) and ``state`` (what a caller
brings back), both pure; ``rooms`` (the sessions with the server), ``pending`` (calls that wait for their
caller), ``listens`` (subscriptions), ``bridge`` (the way in).
"""
