"""Measurements of this package on this machine: one module or folder for each subcommand."""
