"""How outputs are scored, one task a file."""
