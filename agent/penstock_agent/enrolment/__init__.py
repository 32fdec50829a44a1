"""How this agent gets its identity: the first contact, and the one secret that it is worth."""
