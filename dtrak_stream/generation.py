"""Generating images from a trained model: every image has its own seed and its own file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dtrak_stream.diffusion import Denoiser, load_denoiser, weights_hash
from dtrak_stream.durable import durable_path, remove_partials, write_json
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InterruptedRunError
from dtrak_stream.noise import StreamKey
from dtrak_stream.progress import progress
from dtrak_stream.provenance import record_run
