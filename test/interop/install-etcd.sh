#!/usr/bin/env bash
# Builds a version of etcd that Debian doesn't have, into a folder that is kept for the next time, and prints the path of the
# program. It needs Go, and takes less than a minute.
# usage: bash test/interop/install-etcd.sh VERSION
set -euo pipefail
version=$1
folder=${ANYSERVE_CACHE:-$HOME/.cache/anyserve}/interop/etcd-$version
mkdir -p "$folder/source"
# Of two that run at once, the second one waits for the first.
exec 9>"$folder/lock"
flock 9
if [ ! -x "$folder/etcd" ]; then
  cd "$folder/source"
  # A module of its own, because `go install` refuses a module that replaces others.
  printf 'module etcd-server\n\ngo 1.21\n' >go.mod
  go get "go.etcd.io/etcd/server/v3@v$version" >&2
  go build -o "$folder/etcd.new" go.etcd.io/etcd/server/v3
  mv "$folder/etcd.new" "$folder/etcd"
fi
echo "$folder/etcd"
