"""The recipe as it was published next to `best`: images a second, and LDS."""
