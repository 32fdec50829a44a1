"""All servers of a site as one: a child whose own children are the servers that expose something.

To the endpoint it is one more server, of the handshake era; to each server it is a client.
"""
