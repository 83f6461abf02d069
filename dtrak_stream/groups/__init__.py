"""Groups of training samples (class, artist, source, prompt): read, summed over, ranked."""
