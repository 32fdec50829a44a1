"""How this agent keeps its identity: when its certificate is renewed, how, and what ends it for good."""
