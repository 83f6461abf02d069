"""Featurizing that is killed again and again: what it costs, and whether anything is lost."""
