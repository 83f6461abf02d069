#!/usr/bin/env bash
# Reads thousands of damaged files and options, and tells which of them are not refused in words
# of this package: bash tools/fuzz.sh [--inputs 10000]. See tests/fuzzing.py.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare "[test]"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
cd "$root"
exec nice -n 19 "$venv/bin/python" -m tests.fuzzing "$@"
