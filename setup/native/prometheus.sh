#!/usr/bin/env bash
# Prometheus, promtool and amtool as programs in .local/bin, for the demo's metrics and the tests of rules, dashboards
# and what Alertmanager is told.
#
# Nothing of the system is changed: on Debian and Ubuntu the packages are unpacked into .local/prometheus, not
# installed, so no service is registered; on macOS Homebrew's formulas are used, whose services stay off. What is on
# PATH already is used as it is. Runs again in no time.
#
# Exit codes: 0 there; 2 cannot be had (one sentence says what to do).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
LOCAL_BIN="$ROOT/.local/bin"
HOME_DIR="$ROOT/.local/prometheus"
LOG="$ROOT/.local/bootstrap.log"
PATH="$PATH:$LOCAL_BIN:/opt/homebrew/bin"

say() { printf '3T setup: %s\n' "$*" >&2; }

die() {
  printf '3T setup: %s\n' "$*" >&2
  exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

have_all() { have prometheus && have promtool && have amtool; }

# The packages and the parts of Prometheus' web pages, which are packages of their own.
debian_packages() {
  echo prometheus prometheus-alertmanager
  apt-cache depends --no-recommends --no-suggests prometheus | sed -n 's/^ *Depends: \(libjs-[a-z0-9.-]*\|fonts-[a-z-]*\)$/\1/p'
}

unpack_debian() {
  local draft="$HOME_DIR.new"
  rm -rf "$draft"
  mkdir -p "$draft/packages"
  (cd "$draft/packages" && debian_packages | xargs apt-get download) >>"$LOG" 2>&1 ||
    die "Debian's packages of Prometheus could not be fetched (see $LOG): run 'apt-get update' and try again."
  for package in "$draft"/packages/*.deb; do
    dpkg-deb -x "$package" "$draft" >>"$LOG" 2>&1 || die "$package could not be unpacked (see $LOG)."
  done
  rm -rf "$draft/packages" "$HOME_DIR"
  mv "$draft" "$HOME_DIR"
}

link_debian() {
  ln -sfn "$HOME_DIR/usr/bin/promtool" "$LOCAL_BIN/promtool"
  ln -sfn "$HOME_DIR/usr/bin/amtool" "$LOCAL_BIN/amtool"
  # Debian's build reads its pages from a folder instead of holding them.
  printf '#!/bin/sh\nexec "%s" --web.local-assets="%s/" "$@"\n' \
    "$HOME_DIR/usr/bin/prometheus" "$HOME_DIR/usr/share/prometheus/web" >"$LOCAL_BIN/prometheus.new"
  chmod 755 "$LOCAL_BIN/prometheus.new"
  mv "$LOCAL_BIN/prometheus.new" "$LOCAL_BIN/prometheus"
}

mkdir -p "$LOCAL_BIN"
if have_all; then
  exit 0
fi
if have apt-get && have dpkg-deb; then
  say "fetching Prometheus (once; 30 MB)"
  unpack_debian
  link_debian
elif have brew; then
  say "installing prometheus and alertmanager"
  HOMEBREW_NO_AUTO_UPDATE=1 brew install prometheus alertmanager >>"$LOG" 2>&1 ||
    die "'brew install prometheus alertmanager' failed (see $LOG): run it by hand and try again."
else
  die "there is neither apt-get nor Homebrew: put prometheus, promtool and amtool on PATH."
fi
have_all || die "prometheus, promtool or amtool was not found after their installation (see $LOG)."
