"""What a diffusion model may have been trained to predict."""

from __future__ import annotations

from typing import Literal

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")
