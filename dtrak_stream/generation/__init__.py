"""Generating images from a trained model: every image has its own seed and its own file."""

from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import GenerationResult, generate
from dtrak_stream.generation.sampler import Sampler, SamplerKind

__all__ = ["GenerationConfig", "GenerationResult", "Sampler", "SamplerKind", "generate"]
