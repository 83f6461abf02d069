"""Training a diffusion model from scratch: options, run, resume."""
