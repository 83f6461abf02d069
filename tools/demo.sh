#!/usr/bin/env bash
# Everything on a fresh machine: environment, install, and the main job on an embedded model.
# Generates digits with the small diffusion model that comes along, attributes them to the 1,000
# digits it was trained on, and prints the path of a page to look at. Arguments go to
# tools/attribute.py (try --method trak, --transform square, --help).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case "${1:-}" in -h | --help) wants_help=yes ;; *) wants_help=no ;; esac
# the test extra is left out: the demo needs less
prepare ""
python="$venv/bin/python"
cd "$root"
if [ "$wants_help" = yes ]; then
    exec "$python" tools/attribute.py --help
fi
"$python" tools/generate.py --out runs/demo/generated --count 16 --seed 0 >/dev/null
exec "$python" tools/attribute.py --query runs/demo/generated --run runs/demo "$@"
