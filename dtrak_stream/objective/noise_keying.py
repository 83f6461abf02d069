"""What noise belongs to: a timestep, or a timestep of a sample."""

from __future__ import annotations

from typing import Literal

NoiseKeying = Literal["shared", "per-sample"]
