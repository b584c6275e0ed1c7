#!/usr/bin/env bash
# Installs the Python packages that the interop tests run, into a folder that is kept for the next time, and prints the path of
# the Python that has them. Another version of Python or other requirements get a folder of their own.
# usage: bash test/interop/install.sh [REQUIREMENTS FILE]
set -euo pipefail
requirements=${1:-$(dirname "$0")/requirements.txt}
key=$( (python3 --version; cat "$requirements") | sha256sum | cut -c1-12)
folder=${ANYSERVE_CACHE:-$HOME/.cache/anyserve}/interop/python-$key
mkdir -p "$(dirname "$folder")"
# Of two that run at once, the second one waits for the first.
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/complete" ]; then
  rm -rf "$folder"
  python3 -m venv "$folder"
  pip=("$folder/bin/pip" install --quiet --disable-pip-version-check)
  "${pip[@]}" -r "$requirements" >&2
  # Triton's server comes inside a package whose own requirements nothing here uses.
  if grep -q '^# no dependencies: ' "$requirements"; then
    sed -n 's/^# no dependencies: //p' "$requirements" | xargs "${pip[@]}" --no-deps >&2
  fi
  touch "$folder/complete"
fi
echo "$folder/bin/python"
