"""The tunnel listener: where agents enrol and keep their links. TLS by the private CA ends here."""
