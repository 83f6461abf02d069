"""Networks of the size that people fine-tune: seconds an image and memory, measured and planned."""
