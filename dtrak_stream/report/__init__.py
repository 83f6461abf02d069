"""What a person looks at: one HTML page and PNG grids of a run's proponents and opponents."""
