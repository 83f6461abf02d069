#!/usr/bin/env bash
# Everything on a fresh machine: environment, install, lint, types and tests.
# Arguments go to pytest (try -k sketch, -x, --help, and -n 0 to run in one process).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare "[test]"
cd "$root"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
# a process for each core, one thread each: files of tests are shared out, which halves the time
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$venv/bin/python" -m pytest -n auto --dist loadfile "$@"
