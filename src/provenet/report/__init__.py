"""Self-contained pages that are written from records and open offline; no torch on this floor."""
