#!/bin/sh
# Makes an environment and installs wavepress into it, or says in one sentence why not. `make` calls it:
#     tools/install.sh PYTHON VENV EXTRA TARGET
# TARGET is what make was asked for, to be named in advice. A usable environment is kept; any other is made again.
set -eu
python=$1 venv=$2 extra=$3 target=$4
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

fail() {
    echo "$1" >&2
    exit 1
}

# The newest Python there is that is new enough, for advice that works.
suggestion() {
    for minor in 14 13 12 11; do
        if command -v "python3.$minor" >/dev/null && "python3.$minor" -c "$new_enough" 2>/dev/null; then
            echo "Try: make $target PYTHON=python3.$minor"
            return
        fi
    done
    echo "Install a newer one, then try: make $target PYTHON=python3.12"
}

is_usable() {
    "$venv/bin/python" -c "$new_enough" 2>/dev/null && "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

make_venv() {
    command -v "$python" >/dev/null ||
        fail "wavepress needs Python 3.11 or later; there is no $python. $(suggestion)"
    "$python" -c "$new_enough" 2>/dev/null ||
        fail "wavepress needs Python 3.11 or later; $python is $("$python" -c 'import platform; print(platform.python_version())'). $(suggestion)"
    rm -rf "$venv"
    trap 'rm -rf "$venv"' EXIT # half an environment would be in the way next time
    trap 'exit 130' INT TERM
    said=$("$python" -m venv "$venv" 2>&1) || { # after Ctrl-C, nobody wants to read what Python says
        "$python" -c 'import ensurepip' 2>/dev/null ||
            fail "$python cannot make environments: install the package python3-venv (on Debian and Ubuntu: sudo apt install python3-venv). Then run make $target again."
        fail "$said
$python could not make $venv: it says why above. Then run make $target again."
    }
    trap - EXIT INT TERM
}

is_usable || make_venv
echo "Installing into $venv, once: a minute or so"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" ||
    fail "pip could not install the packages: it says why above. If it did not reach them, is there a network, or a proxy to set? Then run make $target again."
