"""Opening the images and the features of a job, with what is known of the images already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.conditions import used_conditions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.samples import CheckLabels, ConditionKind, Samples
from dtrak_stream.features.kinds import number_of_stores, open_features
from dtrak_stream.features.maker import FeatureMaker
from dtrak_stream.features.path_features import is_trajectory
from dtrak_stream.featurizing.checked import Inputs, inputs_of, read_checked
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.store.layout import read_layout
from dtrak_stream.store.store_set import store_folders
from dtrak_stream.support.stamps import Stamp

Wanted: TypeAlias = tuple[ImageShape | None, ConditionKind]
"""The shape of images, and what is wanted of them besides."""

Asked: TypeAlias = tuple[str, int | None, ImageOptions, ConditionOptions, Wanted, Stamp | None]
"""Source, limit and options of images, what is wanted, and what their files look like."""


class KnownImages(NamedTuple):
    """What is known of images whose files did not change since they were hashed.

    Attributes
    ----------
    samples
        Hash of the images and what they are of.
    images
        Hash of the images alone; None where it is not known.
    """

    samples: str | None
    images: str | None


Identities: TypeAlias = dict[Asked, KnownImages]
"""What images are, for jobs of one process that read the same ones: they are hashed once."""


@dataclass
class Opening:
    """Opens images and features, and finds out whether what was read is all in the stamp.

    Attributes
    ----------
    config
        The job.
    like
        The shape of images whose features are compared with these, where no model says it.
    identities
        What is known of the images, and what will be known.
    inputs
        What the files look like that are read; None where that cannot be told.
    denoiser
        The model, where it is given instead of named.
    trusted
        What the images are, where another process has found it out.
    images
        What was opened, in that order, and what was wanted of it.
    """

    config: FeaturizeConfig
    like: ImageShape | None
    identities: Identities
    inputs: Inputs | None
    denoiser: Denoiser | None = None
    trusted: KnownImages | None = None
    images: list[tuple[Wanted, Images]] = field(default_factory=list)

    def features(self, opened: FeatureMaker | None) -> tuple[FeatureMaker, Samples]:
        """Return what computes features, `opened` if that is it, and the samples it is given."""
        config = self.config
        return open_features(
            config.model if self.denoiser is None else self.denoiser,
            config.features,
            config.trajectory,
            self._open_images,
            visible=not config.quiet,
            opened=opened,
            cache_latents=config.cache_latents,
            bandwidth=self._kept_bandwidth(),
        )

    def first_images(self, count: int) -> str:
        """Return the hash of the first so many images, with what they are of; reads them."""
        config, (wanted, images) = self.config, self.images[-1]
        return open_images(
            config.images,
            images.shape,
            config.image_options,
            limit=count,
            conditioned_on=wanted[1],
            conditions=used_conditions(config.condition_options, wanted[1]),
            visible=not config.quiet,
        ).identity()

    def inputs_found(self) -> Inputs | None:
        """Return the inputs if all that was hashed is in them and nothing changed meanwhile."""
        wanted, images = self.images[-1]
        if self.denoiser is not None:
            return None
        if images.reaches_outside() or inputs_of(self.config) != self.inputs:
            return None
        if self.inputs is not None:
            known = KnownImages(images.identity(), images.images_if_hashed())
            self.identities[self._key(wanted)] = known
        return self.inputs

    def _key(self, wanted: Wanted) -> Asked:
        config, source = self.config, self.inputs.source if self.inputs else None
        options = config.image_options, config.condition_options
        return config.images, config.limit, *options, wanted, source

    def _open_images(
        self, shape: ImageShape | None, kind: ConditionKind, check: CheckLabels | None
    ) -> Images:
        config, wanted = self.config, (shape or self.like, kind)
        known = self.trusted or self.identities.get(self._key(wanted)) or self._kept_identities()
        images = open_images(
            config.images,
            wanted[0],
            config.image_options,
            limit=config.limit,
            conditioned_on=kind,
            conditions=used_conditions(config.condition_options, kind),
            identity=known.samples,
            images_identity=known.images,
            check_labels=check,
            visible=not config.quiet,
        )
        self.images.append((wanted, images))
        return images

    def _kept_bandwidth(self) -> float | None:
        """Return that of a store that was begun: images that come later do not change it."""
        root = store_folders(self.config.store, number_of_stores(self.config.features))[0]
        if not (root / "store.json").is_file():
            return None
        return read_layout(root).fingerprint.bandwidth

    def _kept_identities(self) -> KnownImages:
        """Return what a store that was begun from the same inputs tells of the images."""
        config, inputs, nothing = self.config, self.inputs, KnownImages(None, None)
        if config.rehash or inputs is None or is_trajectory(config.features.output_function):
            return nothing  # along a path, the samples are not the images
        root = store_folders(config.store, number_of_stores(config.features))[0]
        if not (root / "store.json").is_file():
            return nothing
        layout, checked = read_layout(root), read_checked(root)
        if checked is None or not checked.is_of(inputs, layout):
            return nothing
        return KnownImages(layout.fingerprint.images, layout.images_alone() or None)
