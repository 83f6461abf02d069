"""A small text-to-image model that LoRAs of the benchmark are trained on."""
