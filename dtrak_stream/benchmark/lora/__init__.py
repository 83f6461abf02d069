"""A LoRA whose retrained halves are known, and the small text-to-image model it is put on."""
