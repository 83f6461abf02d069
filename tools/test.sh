#!/usr/bin/env bash
# Everything on a fresh machine: environment, install, lint, types and tests.
# Arguments go to pytest (try -k sketch, -x, --help).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare "[test]"
cd "$root"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
exec "$venv/bin/python" -m pytest "$@"
