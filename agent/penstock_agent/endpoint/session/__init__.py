"""One session of the handshake era: how it began, what is said in it, what is kept of that, and its life."""
