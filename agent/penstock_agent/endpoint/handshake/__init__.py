"""The handshake era over HTTP: its two transports, and how each exchange of a session is served."""
