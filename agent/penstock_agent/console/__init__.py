"""What the site's administrator looks at, in a terminal or a browser: programs of their own beside the agent.

The facts come from the control socket and the ledger's files; the running agent imports nothing of this.
"""
