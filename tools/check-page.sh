#!/usr/bin/env bash
# Checks the types of the web page, which its JSDoc comments state. Debian's node-typescript and npm have the same
# version. Where neither is installed, nothing is checked, and this says so.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ "$(tsc --version 2>/dev/null)" == *" 4.8."* ]]; then
    tsc --project tools/tsconfig.json
elif command -v npx >/dev/null; then
    npx --yes --package typescript@4.8.4 tsc --project tools/tsconfig.json
elif [ "${WAVEPRESS_TEST_TOOLS:-}" = required ]; then
    echo "There is neither tsc nor npx." >&2
    exit 1
else
    echo "The types of the web page are not checked: there is neither tsc nor npx (apt install node-typescript)."
fi
