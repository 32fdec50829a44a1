"""The ``[tolerance]`` table of ``agent.toml``: what clients are forgiven that do not keep to MCP."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, StrictBool


class Tolerance(BaseModel):
    """Every switch is on unless the file says otherwise: clients in the field need each of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Requests without Mcp-Session-Id are served, from a session of the caller that the agent begins.
    sessionless: StrictBool = True
    #: A session that has ended without the client's doing is begun again under its id.
    revive_sessions: StrictBool = True
    #: A tool's result that is longer than the client takes becomes an error in words.
    limit_results: StrictBool = True
    #: A list that the server does not offer is answered "method not found", whatever else the server says.
    tidy_lists: StrictBool = True
    #: While a process starts, a client that asks who the server is and what it has gets the earlier answer.
    answer_while_starting: StrictBool = True
