"""The agent: dials out from the site, is the MCP endpoint, and owns policy and children."""
