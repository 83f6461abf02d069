#!/usr/bin/env bash
# Mutation testing of one folder of dtrak_stream: bash tools/mutation.sh kernel [--sample 150].
# Takes minutes to hours, can be stopped and goes on where it was; see tests/mutants.py.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare "[test]"
# beside what the tests need, and not in it: the tests themselves can do without
"$venv/bin/python" -c "import mutmut" 2>/dev/null ||
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable "$root[mutation]"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec nice -n 19 "$venv/bin/python" -P "$root/tests/mutants.py" "$@"
