"""What both ends of Penstock agree on.

The words, one per thing, in code, logs and pages alike:

relay, agent
    the two programs; a *replica* is one running relay
site
    one on-prem place with a name; the tenant of the relay
server, child
    an MCP server that the site's operator configured; the running process of a stdio server
link
    one tunnel connection between two programs
exchange
    one public HTTP request and everything that answers it, carried over links
origin
    the replica that holds the caller's HTTP connection of an exchange
session
    an MCP session of a handshake-era client (2025-11-25 and earlier)
principal
    who calls: issuer, subject, name, e-mail, groups, client

Verbs: frames encode and decode, messages parse and dump, exchanges open, attach and reset,
policy decides, children start and stop.
"""

__version__ = "0.1.0"
