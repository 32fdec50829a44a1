"""The relay: an authenticated switchboard between public callers and the agents of sites."""
