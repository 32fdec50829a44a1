"""The site's control over what its servers show and do: default deny, decided here and nowhere else."""
