"""What a plan foretells beside what the run takes."""
