"""``penstock-agent doctor``: what is looked at, one finding each. It changes nothing."""
