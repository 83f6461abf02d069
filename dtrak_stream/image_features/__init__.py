"""Features of the images themselves: pixels and CLIP embeddings, without a diffusion model.

==========  ======================================================================  =========
name        feature of one image                                                    length
==========  ======================================================================  =========
``pixels``  its numbers in [-1, 1], in the order channel, row, column               C * H * W
``clip``    CLIP's image embedding, uncentred and not normalised (Radford et al.    512 for
            2021), after CLIP's own preprocessing                                   ViT-B/32
==========  ======================================================================  =========

They go through the same projectors, into the same store, as gradients do; dot products and
cosines of them are the baselines of Zheng et al. 2024, table 1.
"""

from dtrak_stream.image_features.encoder import ImageEncoder
from dtrak_stream.image_features.featurizer import ImageFeaturizer
from dtrak_stream.image_features.make import IMAGE_FEATURES, make_image_featurizer

__all__ = ["IMAGE_FEATURES", "ImageEncoder", "ImageFeaturizer", "make_image_featurizer"]
