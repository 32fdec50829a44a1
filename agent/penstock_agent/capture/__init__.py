"""What came in and what left, kept on site for whoever has the key, which is not on site. Opt-in."""
