"""Checkpoints of a LoRA, each on the same base."""

from __future__ import annotations

import dataclasses

import numpy as np
from diffusers import StableDiffusionPipeline

import dtrak_stream
from dtrak_stream.model.loading import load_denoiser
from tests.attribution.jobs import datasets, job
from tests.attribution.test_families_end_to_end import sources_for
from tests.model.test_lora_gradients import adapted
from tests.model.text_pipelines import stable_diffusion


def test_scores_of_checkpoints_of_a_lora_are_the_mean_of_those_of_each(tmp_path):
    stable_diffusion(tmp_path / "model")
    base, loras = str(tmp_path / "model" / "pipeline"), []
    for step in (100, 200):
        loras.append(str(tmp_path / f"checkpoint-{step}"))
        network = stable_diffusion(tmp_path / f"another-{step}").unet
        factors = adapted(network, step, targets=["to_q"], alpha=2)
        StableDiffusionPipeline.save_lora_weights(loras[-1], unet_lora_layers=factors)
    sources = sources_for(load_denoiser(base).image_shape, tmp_path, captioned=True)
    scores = {"method": "tracincp"}
    together = job(base, sources, tmp_path / "run", scores=scores, dtype="float32")
    models = tuple(f"{base}+{lora}" for lora in loras)
    result = dtrak_stream.attribute(dataclasses.replace(together, model=models))
    each = []
    for number, lora in enumerate(loras):
        run = tmp_path / f"run-{number}"
        alone = job(base, sources, run, scores=scores, dtype="float32", lora=(lora,))
        each.append(datasets(dtrak_stream.attribute(alone).scores)["scores"])
    assert not np.allclose(each[0], each[1], rtol=1e-2)
    np.testing.assert_allclose(datasets(result.scores)["scores"], np.mean(each, 0), rtol=1e-3)
