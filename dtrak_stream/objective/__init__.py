"""What is differentiated, where, and under which noise."""
