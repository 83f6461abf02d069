#!/usr/bin/env bash
# The main job with the lowest version of each dependency that pyproject.toml allows, in an
# environment of its own, .venv-lowest: shows that the bounds are true. torch is the one of the
# other environments. Takes Python 3.11, for which all these versions have wheels, unless PYTHON is
# set. With --list, it only prints the versions.
set -euo pipefail
export PYTHON="${PYTHON:-python3.11 python3}"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
venv="$root/.venv-lowest"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
cd "$root"

# lowest_versions: NAME==BOUND for each NAME>=BOUND, as pip takes constraints
lowest_versions() {
    "$(find_python)" - <<'END'
import re
import tomllib

with open("pyproject.toml", "rb") as file:
    requirements = tomllib.load(file)["project"]["dependencies"]
for requirement in requirements:
    bounded = re.fullmatch(r"([\w.-]+)(?:\[[\w.,-]+\])?>=([\w.]+)", requirement)
    if bounded is None:
        raise SystemExit(f"error: pyproject.toml: {requirement!r} is not of the form NAME>=BOUND")
    if bounded[1] != "torch":
        print(f"{bounded[1]}=={bounded[2]}")
END
}

# import_everything: every module, also those that the main job has no use for
import_everything() {
    "$venv/bin/python" - <<'END'
import importlib
import pkgutil

import dtrak_stream

for module in pkgutil.walk_packages(dtrak_stream.__path__, "dtrak_stream."):
    if module.name == "dtrak_stream.__main__":
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name != "triton":  # comes with torch for GPUs
            raise
END
}

# save_as_dataset IMAGES OUT: what Hugging Face datasets makes of a folder of images
save_as_dataset() {
    "$venv/bin/python" - "$@" <<'END'
import sys
from pathlib import Path

from datasets import Dataset, Image

images, out = sys.argv[1:]
paths = sorted(str(path) for path in Path(images).glob("*.png"))
Dataset.from_dict({"image": paths}).cast_column("image", Image()).save_to_disk(out)
END
}

# main_job FOLDER: attributes generated digits to others twice, to the same bytes, and verifies them
main_job() {
    local python="$venv/bin/python" generated="$1/generated" train="$1/train" run file
    "$python" tools/generate.py --out "$generated" --count 12 --seed 1
    save_as_dataset "$generated" "$train"
    for run in "$1/first" "$1/second"; do
        "$python" tools/attribute.py --train "$train" --query "$generated[:4]" --run "$run"
        "$python" tools/verify.py --run "$run"
    done
    for file in train/shards/00000000.h5 train/features.h5 gram.h5 scores.h5; do
        cmp "$1/first/$file" "$1/second/$file"
    done
}

if [ "${1:-}" = --list ]; then
    lowest_versions
    exit
fi
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
lowest_versions >"$scratch/constraints.txt"
PIP_CONSTRAINT="$scratch/constraints.txt" PIP_ONLY_BINARY=:all: prepare ""
"$venv/bin/python" -m pip check
import_everything
main_job "$scratch"
