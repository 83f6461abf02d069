"""How exact the random projections are, and how fast."""
