"""What it costs that a store changes: rows appended and removed, its Gram matrix, its scores."""
