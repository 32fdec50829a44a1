"""The site's rules: who may use what of a server, with which arguments, and how much of it. Pure."""
