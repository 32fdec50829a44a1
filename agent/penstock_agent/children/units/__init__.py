"""Children that systemd runs: each connection to a server's socket is one instance of its unit.

``spec`` is what such a server is, ``connection`` the agent's end, and ``unit_main`` the program that the unit
starts and that becomes the server.
"""
