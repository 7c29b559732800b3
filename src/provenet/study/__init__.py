"""Studies: the same recipe with and without each technique, and what each one bought."""
