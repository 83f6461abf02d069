"""What it costs to start a finished main job again."""
