"""The public edge: HTTP from callers in, exchanges through the switchboard out.

One request is one handler, top to bottom (`handler`): the order of answers (`order`), the body under its
limits (`body`), the exchange, the answer (`stream`). `connection` is what a socket may cost before that.
"""
