# Sourced by demo.sh and test.sh: makes .venv beside this folder and installs the project in it.
# Needs bash, Python 3.11 or newer and a package registry. Set PYTHON or DTRAK_TORCH to choose the
# interpreter, or the torch to install (such as "torch" for the newest).

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or newer was found; install one, or set PYTHON to it" >&2
    exit 2
}

# installed EXTRAS: whether that is there for the present pyproject.toml, torch and folder
installed() {
    [ -f "$venv/.installed$1" ] && [ "$(cat "$venv/.installed$1")" = "$state" ]
}

# prepare EXTRAS: installs once for each state of pyproject.toml, so a second call costs nothing
prepare() {
    local state
    state="${DTRAK_TORCH:-} $(cksum <"$root/pyproject.toml") $root"
    # an environment for the tests has all that is needed without them
    if installed "$1" || installed "[test]"; then
        return
    fi
    echo "installing into $venv (once, a few minutes) ..." >&2
    [ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
    # one torch version that is known to work comes first: a plain requirement would let the
    # resolver replace it by the newest build with several gigabytes of GPU libraries
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        "${DTRAK_TORCH:-torch==2.13.0}"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable "$root$1"
    echo "$state" >"$venv/.installed$1"
}
