"""The main job: every stage in one call, each skipped when done."""
