"""Whether everything in a run folder is whole and belongs together."""
