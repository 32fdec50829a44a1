"""The record of what the site decided, and of everything that left it."""
