"""Alembic's scripts. They run inside the store's own connection and transaction."""
