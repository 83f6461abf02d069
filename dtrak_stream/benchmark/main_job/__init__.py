"""The main job, stage by stage as a user runs it, and what it finds on known answers."""
