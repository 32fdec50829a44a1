"""How a child is confined: what is decided here, and carried out by the launcher before its command runs.

``plan`` says it all in steps that the launcher understands; ``bpf``, ``rights`` and ``limits`` know the
kernel's numbers; ``places`` knows what a command needs to see; ``kernel`` knows what this machine can do.
"""
