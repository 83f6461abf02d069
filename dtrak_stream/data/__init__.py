"""Images from where they lie, one at a time, as the model wants them.

A source is named by one string. Nothing is read ahead: opening a source lists names at most,
and an image is decoded when it is asked for.

==============================  ====================================================  ===========
source                          what it holds                                         sample id
==============================  ====================================================  ===========
``DIR``                         image files, recursively, in natural order            path in DIR
``FILE.npy``                    array (N, H, W) or (N, H, W, C), see below            row number
``FILE.npz:KEY``                the same, member KEY (may be left out if only one)    row number
``FILE.h5:KEY``                 the same, HDF5 data set KEY (also ``.hdf5``)          row number
``sklearn:digits``              scikit-learn's 1,797 8x8 digits, kept in the package  row number
``DIR``                         a Hugging Face data set saved with ``save_to_disk``   row number
``FILE.parquet``                a data set with an image column                       row number
``FILE.tar``                    a webdataset                                          ``__key__``
``hf:OWNER/NAME``               a data set on the Hugging Face hub                    row number
==============================  ====================================================  ===========

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
