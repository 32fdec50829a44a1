"""OAuth 2.1 for MCP clients: where to log in, who asks, what a user grants, which tokens come of it."""
