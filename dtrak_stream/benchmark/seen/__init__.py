"""Whether residuals tell which images a model saw, and what scores make of it."""
