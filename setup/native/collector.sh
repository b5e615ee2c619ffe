#!/usr/bin/env bash
# The OpenTelemetry collector as a program in .local/bin, for the test of setup/otel-collector/config.yaml.
#
# Built from its Go modules by its own builder, as setup/otel-collector/build.yaml says: some minutes and 2 GB of Go's
# caches the first time. Runs again in no time while that file is unchanged.
#
# Exit codes: 0 there; 2 cannot be had (one sentence says what to do).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
MANIFEST="$ROOT/setup/otel-collector/build.yaml"
HOME_DIR="$ROOT/.local/otel-collector"
PROGRAM="$ROOT/.local/bin/otelcol"
LOG="$HOME_DIR/build.log"

say() { printf '3T setup: %s\n' "$*" >&2; }

die() {
  printf '3T setup: %s\n' "$*" >&2
  exit 2
}

if [ -x "$PROGRAM" ] && cmp --silent "$MANIFEST" "$HOME_DIR/built.yaml"; then
  exit 0
fi
command -v go >/dev/null || die "the collector is built with Go, which is not installed: see https://go.dev/doc/install"
VERSION="$(sed -n 's/^  version: //p' "$MANIFEST")"
cd "$ROOT"
mkdir -p "$HOME_DIR" "$(dirname "$PROGRAM")"
say "building the collector $VERSION (some minutes; what it says is in $LOG)"
# One package at a time leaves the machine usable.
export GOBIN="$HOME_DIR/bin" GOFLAGS="-p=1 -buildvcs=false"
{
  go install "go.opentelemetry.io/collector/cmd/builder@v$VERSION" && "$GOBIN/builder" --config "$MANIFEST"
} >"$LOG" 2>&1 || die "the collector could not be built (see the end of $LOG); it needs Go's module proxy and a recent Go."
mv "$HOME_DIR/build/otelcol" "$PROGRAM"
cp "$MANIFEST" "$HOME_DIR/built.yaml"
