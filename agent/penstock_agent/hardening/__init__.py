"""Units of systemd for single servers: ``text`` says what is in them, ``installing`` puts them there."""
