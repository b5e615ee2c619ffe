#!/bin/sh
# Leaves in the virtual environment $1 only what it has beyond the one in $2, and compiles that to bytecode.
set -eu
cd "$1"
# What is different here, too, is kept.
find . ! -type d -exec sh -c '
  before="$1"
  shift
  for file; do
    if [ -L "$file" ]; then
      [ "$(readlink "$file")" != "$(readlink "$before/$file")" ] || rm "$file"
    elif cmp -s "$file" "$before/$file"; then
      rm "$file"
    fi
  done' sh "$2" {} +
find . -mindepth 1 -type d -empty -delete
python -m compileall -q -j 0 --invalidation-mode unchecked-hash .
