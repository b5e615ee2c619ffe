#!/bin/sh
# Leaves in the virtual environment $1 only what it has beyond the one in $2, and compiles that to bytecode.
set -eu
cd "$1"
diff --recursive --brief --report-identical-files --no-dereference "$2" . |
  sed -n 's/^.* and \(.*\) are identical$/\1/p' | xargs --no-run-if-empty --delimiter='\n' rm
find . -mindepth 1 -type d -empty -delete
python -m compileall -q -j 0 --invalidation-mode unchecked-hash .
