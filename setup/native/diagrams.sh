#!/usr/bin/env bash
# Renders docs/arch/*.puml to SVG with PlantUML and Graphviz, which it installs where they are missing.
#
# Each picture carries the hash of what it was made from, so that a test can tell an old one without rendering.
#
# Exit codes: 0 rendered; 1 a diagram has an error; 2 the programs cannot be had (one sentence says what to do).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
LOG="$ROOT/.local/bootstrap.log"
cd "$ROOT/docs/arch"

die() {
  printf '3T setup: %s\n' "$2" >&2
  exit "$1"
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
}

install_programs() {
  mkdir -p "$(dirname "$LOG")"
  printf '3T setup: installing plantuml and graphviz\n' >&2
  if have apt-get; then
    { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install --yes --no-remove --no-install-recommends plantuml graphviz; } >>"$LOG" 2>&1 ||
      die 2 "'apt-get install plantuml graphviz' failed (see $LOG): run it by hand and try again."
  elif have brew; then
    HOMEBREW_NO_AUTO_UPDATE=1 brew install plantuml graphviz >>"$LOG" 2>&1 ||
      die 2 "'brew install plantuml graphviz' failed (see $LOG): run it by hand and try again."
  else
    die 2 "plantuml and graphviz are missing and there is neither apt-get nor Homebrew: install them by hand."
  fi
}

{ have plantuml && have dot; } || install_programs

draft="$(mktemp -d)"
trap 'rm -rf "$draft"' EXIT
plantuml -tsvg -nometadata -charset UTF-8 -failfast2 -o "$draft" "$PWD"/*.puml ||
  die 1 "a diagram has an error (see above); the pictures stay as they were."
for source in *.puml; do
  picture="${source%.puml}.svg"
  hash="$(cat c4.iuml "$source" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-64)"
  printf '%s\n<!-- made from sha256 %s -->\n' "$(cat "$draft/$picture")" "$hash" >"$picture"
  printf 'docs/arch/%s\n' "$picture"
done
