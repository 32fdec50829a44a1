"""Children in containers of podman: what is run (``run``), what podman says (``podman``), how one is started
(``starting``), and the process that stands for it and has it removed (``container_main``).
"""
