"""How well scores predict retrained models: output functions, noise, timesteps, methods."""
