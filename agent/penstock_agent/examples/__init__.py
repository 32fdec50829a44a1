"""MCP servers to try Penstock with. They need nothing but Python, and know nothing of Penstock."""
