"""What the commands ``servers`` and ``import`` work with: tables of agent.toml, trials, packages, and the
files of other hosts.
"""
