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
- `--where COLUMN=VALUE` keeps rows of a source by what lies beside its images, `--rows FILE` then
  picks some of these by number, the first being 0, and puts them in order. A slice counts among
  what is left, and `--limit` after it. Sample ids stay those of the whole source, and so do the
  numbers of classes. A column ``split`` of a list tells splits, and is asked before all of these.
- Paths in a list (``list:FILE.csv``) are relative to the list's folder and are the sample ids as
  they are written; no two of the rows that are meant may name one file.
- Of img2dataset's folders and tar files, the parquet files beside them are no images, but what is
  known of them: a row of which the fetching failed says nothing, and captions are taken from them
  where no texts lie beside the images or in the tar files.
- Clones of data sets on the hub are read by the parquet files in them.
- Grayscale and RGB images of 8 bits a channel are read as they are; palette, CMYK and YCbCr
  images become RGB; EXIF rotation is applied unless `--exif ignore`; images of 16 bits a channel
  are read as `--depth16` says; of an animation the first frame is taken, and a line tells so.

Models may be told what an image is of: a caption or a class label. These lie beside the images, in
columns, and a line says which was taken:

- in a folder: ``00001.txt`` or ``00001.caption`` beside ``00001.jpg`` (one that differs from the
  other is refused), or ``caption`` in ``00001.json``; ``metadata.jsonl``, ``.csv`` or ``.parquet``
  with a column ``file_name``, for the folder it lies in and those below; the folders that images
  lie in, sorted, as classes; a zip archive has what the folder had that was packed;
- in a data set or tar file: a column, or an entry of a structure or of JSON (``json.caption``);
- in a list: a column;
- in npz and HDF5 files: another array; beside IDX files of images, that of labels. The digits are
  labelled as well.

A column called by one of the usual names (text, caption, prompt; label, class, target, ...) is
taken, or the only one of text, unless `--caption-column` or `--label-column` names one; where
several may be meant, none is. Texts as labels are numbered in their order, for all of the source.
"""
