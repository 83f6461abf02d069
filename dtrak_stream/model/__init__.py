"""A diffusion model as attribution needs it."""
