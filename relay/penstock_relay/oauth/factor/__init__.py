"""The second factor of local accounts: a code from an app besides the password (RFC 6238)."""
