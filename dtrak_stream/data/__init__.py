"""Images from where they lie, one at a time, as the model wants them.

A source is named by one string. Nothing is read ahead: opening a source lists names at most,
and an image is decoded when it is asked for.

The table in `kinds` tells which kinds of sources there are, how each is written, what it holds and
what its samples are called. A new kind is one row there, and a file with what opens it.

- Arrays are uint8, or float in [-1, 1]; `--float-range unit` reads floats in [0, 1]. A float
  outside of the range is refused, and so are floats that could be of either.
- An array (N, H, W) with W up to 4 is refused: it could be one image (H, W, C).
- For parquet and tar, a folder of such files or a glob (``DIR/*.tar``) will do; files are taken
  in natural order. A ``__key__`` column gives the sample ids if no key occurs twice.
- Any source may end in a slice: ``DIR[100:200]``, ``FILE.npy[:50]``, ``hf:OWNER/NAME[10:]``.
  A slice counts in the order of the source; sample ids stay those of the whole source.
- Grayscale and RGB images of 8 bits a channel are read as they are; palette, CMYK and YCbCr
  images become RGB; EXIF rotation is applied unless `--exif ignore`; images of 16 bits a channel
  are read as `--depth16` says; of an animation the first frame is taken, and a line tells so.
"""
