"""The way out: dials the relay, keeps a link, and carries exchanges over it."""
