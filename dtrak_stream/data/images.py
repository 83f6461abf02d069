"""Images of one source, in order, in the model's shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import xxhash

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.conditions import Conditions, open_conditions
from dtrak_stream.data.equal_images import EqualImages, PictureHashes
from dtrak_stream.data.fitting import cures, fit, native_shape, origin_of, shape_of
from dtrak_stream.data.opening import open_source
from dtrak_stream.data.options import ImageOptions, ImageShape, with_effect
from dtrak_stream.data.picture_identity import pictures_identity
from dtrak_stream.data.remarks import say_once
from dtrak_stream.data.samples import CheckLabels, Condition, ConditionKind, ImageOrigin
from dtrak_stream.data.source import Pixels, Source
from dtrak_stream.data.spec import parse_spec, require_limit
from dtrak_stream.errors import BadImageError, InputError, ModelError
from dtrak_stream.support.progress import progress


class Images:
    """Images that can be asked for one by one; made by `open_images`.

    Attributes
    ----------
    spec
        The source as the user named it.
    shape
        The shape of every image: channels, height, width.
    path
        None: a sample is one image.
    class_names
        Names of the classes in the order of their labels, where labels stand for names.
    """

    path: None = None

    def __init__(
        self,
        spec: str,
        source: Source,
        rows: range,
        shape: ImageShape,
        options: ImageOptions,
        *,
        told: Sequence[str],
        identity: str | None,
        images_identity: str | None = None,
        visible: bool,
        conditions: Conditions | None = None,
    ) -> None:
        self.spec = spec
        self.class_names = None if conditions is None else conditions.class_names
        self._conditions = conditions
        self.shape = shape
        self._source = source
        self._rows = rows
        self._options = options
        self._visible = visible
        self._told = frozenset(told)
        self._identity = identity
        self._images_identity = identity if conditions is None else images_identity
        self._equal: EqualImages | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def conditioned_on(self) -> ConditionKind:
        """Return what they were opened with besides."""
        return "nothing" if self._conditions is None else self._conditions.kind

    def sample_id(self, index: int) -> str:
        """Return the name of image `index`."""
        row = self._row(index)
        return self._source.sample_ids(row, row + 1)[0]

    def sample_ids(self, start: int, stop: int) -> list[str]:
        """Return the names of images `[start, stop)`."""
        rows = self._rows[start:stop]
        return self._source.sample_ids(rows.start, rows.stop) if rows else []

    def conditions(self, start: int, stop: int) -> list[Condition] | None:
        """Return the captions or labels of images `[start, stop)`; None if none are wanted.

        They are read when they are asked for, by row.

        Raises
        ------
        InputError
            If they cannot be read, or one of them is missing.
        """
        return None if self._conditions is None else self._conditions.read(start, stop)

    def image(self, index: int) -> torch.Tensor:
        """Decode image `index` and bring it to the model's shape.

        Returns
        -------
        torch.Tensor
            (channels, height, width) float32 in [-1, 1]; uint8 x becomes x / 127.5 - 1.

        Raises
        ------
        BadImageError
            If this image cannot be read, or cannot be brought to the shape under the options.
        """
        return self.image_and_origin(index)[0]

    def image_and_origin(self, index: int) -> tuple[torch.Tensor, ImageOrigin]:
        """Return the same, and what it was before it was resized and cut; raises as `image`."""
        pixels = self._source.pixels(self._row(index))
        tensor = _as_tensor(fit(pixels, self.shape, self._options))
        return tensor, origin_of(shape_of(pixels), self.shape, self._options)

    def identity(self) -> str:
        """Return a hash of everything that decides the samples: 32 hexadecimal digits.

        It covers the bytes of every image in the range, their order and ids, the shape and the
        options, and what they are of if that is wanted. It does not cover where the source lies.
        All of the range is read once.
        """
        if self._identity is None:
            self._identity = self.images_identity()
            if self._conditions is not None:
                both = f"{self._identity}|{self._conditions.identity(visible=self._visible)}"
                self._identity = xxhash.xxh3_128_hexdigest(both.encode())
        return self._identity

    def images_identity(self) -> str:
        """Return the same of the images alone, whatever they are of."""
        if self._images_identity is None:
            self._images_identity = self._hash()
        return self._images_identity

    def pictures_identity(self) -> str:
        """Return the hash of the pictures and their ids alone; see `pictures_identity`."""
        return pictures_identity(self._source, self._rows, visible=self._visible)

    def images_if_hashed(self) -> str | None:
        """Return that hash of the images alone if it is known; reads nothing."""
        return self._images_identity

    def reaches_outside(self) -> bool:
        """Return whether something read so far lies in other files than the source names."""
        return self._source.reaches_outside()

    def remarks(self) -> list[str]:
        """Return what is to be said of the images decoded so far, in a sentence each.

        What was said when they were opened is left out.
        """
        remarks = (each for each in self._source.remarks() if each not in self._told)
        return [f"{self.spec}: {remark}" for remark in remarks]

    def equal_if_hashed(self) -> EqualImages | None:
        """Return which images are there more than once; None if they were not hashed here."""
        return self._equal

    def _hash(self) -> str:
        start, stop = self._rows.start, self._rows.stop
        options = with_effect(dataclasses.asdict(self._options))
        parts = (self._source.layout(), start, stop, str(self.shape), sorted(options.items()))
        digest = xxhash.xxh3_128(repr(parts).encode())
        pictures = PictureHashes(len(self))
        with progress(
            len(self), description="hashing images", unit="image", visible=self._visible
        ) as bar:
            for content in self._source.contents(start, stop):
                encoded = content.encoded()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
                pictures.add(content.picture)
                bar.update()
        self._equal = pictures.equal()
        if self._equal:
            say_once(f"{self.spec}: {self._equal.line(self.sample_id)}")
        return digest.hexdigest()

    def _row(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.spec} has {len(self)} images, there is no image {index}")
        return self._rows[index]


def open_images(
    spec: str,
    shape: ImageShape | None = None,
    options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    *,
    limit: int | None = None,
    conditioned_on: ConditionKind = "nothing",
    conditions: ConditionOptions = ConditionOptions(),  # noqa: B008 (frozen)
    identity: str | None = None,
    images_identity: str | None = None,
    check_labels: CheckLabels | None = None,
    visible: bool = True,
) -> Images:
    """Open the images that `spec` names; see `dtrak_stream.data` for the sources there are.

    Only the first readable image is decoded here.

    Parameters
    ----------
    spec
        The source, which may end in a slice `[a:b]`.
    shape
        What the model wants; None for the shape the first readable image has.
    options
        How images may be brought to that shape.
    limit
        Keep the first so many images (after the slice).
    conditioned_on
        What is wanted of each image besides: nothing, its class label or its caption. All of them
        are read once here, unless `identity` is given.
    conditions
        Where they are.
    identity
        What `Images.identity` gave before, where nothing has changed since.
    images_identity
        What `Images.images_identity` gave before; without it, a hash of images whose conditions
        are wanted is not known of the images alone.
    check_labels
        Raises `ConfigurationError` of labels that the model does not know: they are read here in
        any case.
    visible
        Whether to show progress bars. What was found is said in any case: it decides numbers.

    Raises
    ------
    InputError
        If the source is missing, unreadable, empty, of no known kind, has no readable image, or
        holds floats that are out of range, or of an unknown range; or if captions or labels are
        wanted and missing, could be in several columns, or cannot be what is wanted, or labels
        are none that the model knows.
    ModelError
        If its first readable image cannot be brought to `shape` under `options`.
    ConfigurationError
        If `limit` is not a number of images.
    """
    require_limit(limit)
    parsed = parse_spec(spec)
    source = open_source(parsed.body, options, visible=visible)
    start, stop = parsed.rows(len(source), limit)
    source.check(range(start, stop), visible=visible)
    told = source.remarks()
    for remark in told:
        say_once(f"{parsed.body}: {remark}")
    first, pixels = _first_readable(source, start, stop, spec)
    found = shape_of(pixels)
    wanted = shape or native_shape(found, options)
    needed = cures(found, wanted, options)
    if needed:
        raise ModelError(
            f"its images are {found} ({first}), and the model, or the images they are compared "
            f"with, wants {wanted}",
            where=spec,
            remedy=" and ".join(needed),
        )
    rows = range(start, stop)
    of = open_conditions(
        source, rows, conditioned_on, conditions, where=spec, visible=visible, check=check_labels
    )
    if of is not None:
        if identity is None or check_labels is not None:
            of.identity(visible=visible)
        say_once(f"{spec}: {of.told()}")
    return Images(
        spec,
        source,
        rows,
        wanted,
        options,
        told=told,
        identity=identity,
        images_identity=images_identity,
        visible=visible,
        conditions=of,
    )


def _first_readable(source: Source, start: int, stop: int, spec: str) -> tuple[str, Pixels]:
    """Return id and pixels of the first image that can be decoded."""
    reason = ""
    for row in range(start, stop):
        try:
            return source.sample_ids(row, row + 1)[0], source.pixels(row)
        except BadImageError as error:
            reason = reason or error.reason
    raise InputError(
        f"none of its {stop - start} images can be used (the first: {reason})",
        where=spec,
        remedy="give images that can be read",
    )


def _as_tensor(pixels: Pixels) -> torch.Tensor:
    """Turn (H, W, C) uint8 or float32 pixels into (C, H, W) float32 in [-1, 1]."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    if pixels.dtype == np.uint8:
        planes = planes / np.float32(127.5) - np.float32(1)
    return torch.from_numpy(planes)
