"""The ground floor: knows nothing of attribution."""
