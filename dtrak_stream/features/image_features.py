"""Features of the images themselves: pixels and CLIP embeddings, without a diffusion model.

==========  ======================================================================  =========
name        feature of one image                                                    length
==========  ======================================================================  =========
``pixels``  its numbers in [-1, 1], in the order channel, row, column               C * H * W
``clip``    CLIP's image embedding, uncentred and not normalised (Radford et al.    512 for
            2021), after CLIP's own preprocessing                                   ViT-B/32
==========  ======================================================================  =========

They go through the same projectors, into the same store, as gradients do; dot products and
cosines of them are the baselines of Zheng et al. 2024, table 1. ``rff(pixels)`` and ``rff(clip)``
are random Fourier features of them: see `vector_maps`.
"""

from __future__ import annotations

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import Samples
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.bandwidth import median_bandwidth
from dtrak_stream.features.clip import ClipEncoder
from dtrak_stream.features.encoder import ImageEncoder, PixelEncoder
from dtrak_stream.features.image_featurizer import ImageFeaturizer
from dtrak_stream.features.names import vector_of
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.features.vector_maps import map_to_rows
from dtrak_stream.projectors.projector import MAX_PROJ_DIM
from dtrak_stream.support.device import choose_device
from dtrak_stream.support.timing import StageTimer, clock_of


def make_image_featurizer(
    samples: Samples,
    options: FeatureOptions,
    *,
    bandwidth: float | None = None,
    visible: bool = True,
) -> ImageFeaturizer:
    """Set up encoder and map to rows for images of the shape that `samples` have.

    Parameters
    ----------
    samples
        The images. Some are looked at where a bandwidth is wanted and neither given nor in
        `options`.
    options
        What a feature is.
    bandwidth
        That of Fourier features, where it was found before.
    visible
        Whether to show a progress bar.

    Raises
    ------
    ConfigurationError
        If an option has no such value, or means nothing without a diffusion model.
    InputError, ModelError
        If CLIP cannot be loaded; see `ClipEncoder`. If the images tell no bandwidth.
    """
    _refuse_what_needs_a_model(options)
    device = choose_device(options.device)
    encoder: ImageEncoder = PixelEncoder(samples.shape)
    if vector_of(options.output_function) == "clip":
        _refuse_channels(samples.shape)
        encoder = ClipEncoder(options.clip, device)
    rows = map_to_rows(
        encoder.length,
        options,
        default="identity" if encoder.length <= MAX_PROJ_DIM else "sketch",
        bandwidth=bandwidth,
        find_bandwidth=lambda short: median_bandwidth(
            samples,
            lambda batch: short(encoder.encode(batch.tensors)),
            options.seed,
            visible=visible,
        ),
    )
    timer = StageTimer(clock_of(device))
    return ImageFeaturizer(encoder, rows, samples.shape, device, timer)


def _refuse_what_needs_a_model(options: FeatureOptions) -> None:
    for flag, value, only in (
        ("--precision", options.precision, "float32"),
        ("--timestep-weights", options.timestep_weights, "none"),
    ):
        if value != only:
            raise ConfigurationError(
                f"{options.output_function} features are computed with {only}",
                where=f"{flag} {value}",
                remedy="leave it out",
            )


def _refuse_channels(shape: ImageShape) -> None:
    if shape.channels not in (1, 3):
        raise ConfigurationError(
            f"CLIP takes grayscale (1) or RGB (3) images, not {shape}",
            where="--output-function clip",
            remedy="use --channels convert",
        )
