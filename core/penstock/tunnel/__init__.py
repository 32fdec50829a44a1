"""The tunnel: many exchanges over links that come and go. Sans-I/O; PROTOCOL.md is normative.

Nothing in this package knows asyncio, a clock, a log or randomness: bytes and `now` go in, frames and
a time to wake up come out. Bottom to top:

errors, limits          whose fault, and how much of anything
fields, frames, codec   bytes to frames and back
states                  what may follow what, as tables
credit, principals      the arithmetic of flow control; who a link knows
link                    one end of one link: handshake, heartbeat, order of sending
origin, agent           the two ends of exchanges, over any number of links
"""
