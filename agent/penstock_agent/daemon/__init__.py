"""The running agent: its parts put together, what is asked of it while it runs, and its end."""
