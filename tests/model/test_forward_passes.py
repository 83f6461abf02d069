"""Networks are asked as the pipelines of diffusers ask them."""

from __future__ import annotations

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel, SD3Transformer2DModel

from dtrak_stream.model.forward_passes import predict_by_flux, predict_by_sd3


def test_sd3_is_asked_with_both_kinds_of_prompt_embeddings():
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=8,
        pooled_projection_dim=6,
        pos_embed_max_size=8,
    ).eval()
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([250.0, 700.0])
    inputs = {
        "encoder_hidden_states": torch.randn(2, 5, 12),
        "pooled_projections": torch.randn(2, 6),
    }
    with torch.no_grad():
        expected = network(noisy, timestep=times, **inputs).sample
        found = predict_by_sd3(network, noisy, times, inputs)
    assert torch.equal(found, expected)


def test_flux_is_asked_about_packed_latents_and_their_places():
    torch.manual_seed(0)
    for guided in (False, True):
        network = FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=12,
            pooled_projection_dim=6,
            guidance_embeds=guided,
            axes_dims_rope=(4, 4, 8),
        ).eval()
        noisy, sigmas = torch.randn(2, 4, 6, 8), torch.tensor([0.25, 0.7])
        told = {
            "encoder_hidden_states": torch.randn(2, 5, 12),
            "pooled_projections": torch.randn(2, 6),
        }
        guidance = {"guidance": torch.tensor([3.5, 3.5])} if guided else {}
        packed = FluxPipeline._pack_latents(noisy, 2, 4, 6, 8)
        places = FluxPipeline._prepare_latent_image_ids(2, 3, 4, noisy.device, noisy.dtype)
        with torch.no_grad():
            answer = network(
                packed,
                timestep=sigmas,
                img_ids=places,
                txt_ids=torch.zeros(5, 3),
                **told,
                **guidance,
            ).sample
            found = predict_by_flux(network, noisy, sigmas * 1000, told | guidance)
        expected = FluxPipeline._unpack_latents(answer, 48, 64, 8)
        torch.testing.assert_close(found, expected)
