"""Training a diffusion model, from scratch or further: options, run, resume."""
