#!/usr/bin/env bash
# Makes this checkout ready to run: .venv with the locked requirements, Redis and MariaDB as programs.
#
# No service of the system is installed, started, stopped or configured: on Debian and Ubuntu only packages that
# register none are used (redis-tools holds the Redis server under the name redis-check-rdb), on macOS Homebrew's
# services stay off. What is already there is used as it is. Runs again in well under a second.
#
# Exit codes: 0 ready; 2 something cannot be installed (one sentence says what to do).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
VENV="$ROOT/.venv"
STAMP="$VENV/.bootstrap-stamp"
LOCAL_BIN="$ROOT/.local/bin"
LOG="$ROOT/.local/bootstrap.log"
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/opt/homebrew/opt/mariadb/bin:/usr/local/opt/mariadb/bin"

say() { printf '3T setup: %s\n' "$*" >&2; }

die() {
  printf '3T setup: %s\n' "$*" >&2
  exit 2
}

# Run a command with its output in the log; the caller says what failed.
logged() {
  printf '\n$ %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1
}

have() { command -v "$1" >/dev/null 2>&1; }

# --- packages of the system -----------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

APT_UPDATED=no

apt_update() {
  [ "$APT_UPDATED" = yes ] && return
  if [ "$(id -u)" -ne 0 ] && ! have sudo; then
    die "$1 is missing and this user can install nothing: ask an administrator to run 'apt-get install $2'."
  fi
  say "updating the list of packages"
  logged as_root apt-get update ||
    die "'apt-get update' failed (see $LOG): check the network and sudo rights, or install $2 by hand."
  APT_UPDATED=yes
}

# The newest package called $1 or $1-<version>; releases differ in whether the version is part of the name.
apt_name() {
  apt-cache search --names-only "^$1(-[0-9.]+)?\$" | cut -d' ' -f1 | sort -V | tail -n 1
}

# apt_install <what it is for> <package>...: names as in apt_name.
apt_install() {
  local purpose="$1" package name names=()
  shift
  apt_update "$purpose" "$*"
  for package in "$@"; do
    name="$(apt_name "$package")"
    [ -n "$name" ] || die "this release of the system has no package $package: install $purpose by hand."
    names+=("$name")
  done
  say "installing ${names[*]}"
  # --no-remove: a MySQL of the system would otherwise be removed to make room for MariaDB.
  logged as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-remove --no-install-recommends "${names[@]}" ||
    die "'apt-get install ${names[*]}' failed or would have removed other packages (see $LOG): install $purpose by hand."
}

brew_install() {
  say "installing $1"
  logged env HOMEBREW_NO_AUTO_UPDATE=1 brew install "$1" ||
    die "'brew install $1' failed (see $LOG): run it by hand and try again."
}

# provide <what it is for> <brew formula> <apt package>...
provide() {
  local purpose="$1" formula="$2"
  shift 2
  if have apt-get; then
    apt_install "$purpose" "$@"
  elif have brew; then
    brew_install "$formula"
  else
    die "$purpose is missing and there is neither apt-get nor Homebrew: install it by hand and try again."
  fi
}

# --- Python ---------------------------------------------------------------------------------------------------------

good_python() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Sets PYTHON to an interpreter that is new enough; tested versions first.
find_python() {
  for PYTHON in python3.13 python3.12 python3.11 python3; do
    have "$PYTHON" && good_python "$PYTHON" && return
  done
  PYTHON=""
  return 1
}

provide_python() {
  find_python && return
  if have apt-get; then
    apt_update "Python 3.11 or newer" "python3 python3-venv"
    for version in 3 3.13 3.12 3.11; do
      apt-cache show "python$version-venv" >/dev/null 2>&1 || continue
      apt_install "Python 3.11 or newer" "python$version" "python$version-venv"
      find_python && return
    done
  elif have brew; then
    brew_install python@3.13
    find_python && return
  fi
  die "no Python 3.11 or newer was found or could be installed: install one so that 'python3 --version' shows it."
}

make_venv() {
  provide_python
  if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    local version
    version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    have apt-get || die "$PYTHON has no venv module: install the one that belongs to Python $version."
    apt_install "Python's venv module" "python$version-venv"
  fi
  say "making .venv with $("$PYTHON" --version 2>&1)"
  logged "$PYTHON" -m venv --clear "$VENV" || die "'$PYTHON -m venv .venv' failed: see $LOG."
}

wanted_stamp() {
  { cat "$ROOT/requirements-dev.lock" "$ROOT/requirements-dev.txt" "$ROOT/pyproject.toml"; echo "$ROOT"; } | cksum
}

install_requirements() {
  local wanted
  wanted="$(wanted_stamp)"
  if [ -x "$VENV/bin/python" ] && good_python "$VENV/bin/python"; then
    [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ] && return
  else
    make_venv
  fi
  say "installing the locked requirements (one or two minutes the first time)"
  # Two steps, because hashes cannot be checked for the project itself.
  if have uv; then
    logged uv pip install --python "$VENV/bin/python" --require-hashes -r "$ROOT/requirements-dev.lock" &&
      (cd "$ROOT" && logged uv pip install --python "$VENV/bin/python" --no-deps -r requirements-dev.txt)
  else
    logged "$VENV/bin/python" -m pip install --disable-pip-version-check --require-hashes \
      -r "$ROOT/requirements-dev.lock" &&
      (cd "$ROOT" && logged "$VENV/bin/python" -m pip install --disable-pip-version-check --no-deps \
        -r requirements-dev.txt)
  fi || die "the locked requirements could not be installed (see $LOG): check the network and try again."
  printf '%s\n' "$wanted" >"$STAMP"
}

# --- servers --------------------------------------------------------------------------------------------------------

provide_redis() {
  [ -x "$LOCAL_BIN/redis-server" ] && have redis-cli && return
  have redis-server && have redis-cli && return
  { have redis-check-rdb && have redis-cli; } || provide "Redis" redis redis-tools
  have redis-server && return
  # Debian's redis-server is a link to this program, which acts by the name it is called under.
  have redis-check-rdb || die "neither redis-server nor redis-check-rdb was found: install Redis by hand."
  ln -sfn "$(command -v redis-check-rdb)" "$LOCAL_BIN/redis-server"
  "$LOCAL_BIN/redis-server" --version >>"$LOG" 2>&1 ||
    die "$(command -v redis-check-rdb) does not act as a Redis server here: install redis-server by hand."
}

provide_mariadb() {
  if { have mariadbd || have mysqld; } && { have mariadb || have mysql; } && have_install_db; then
    return
  fi
  provide "MariaDB" mariadb mariadb-server-core mariadb-client-core
  { have mariadbd && have mariadb && have_install_db; } ||
    die "MariaDB's programs (mariadbd, mariadb, mariadb-install-db) were not found: install MariaDB by hand."
}

have_install_db() { have mariadb-install-db || have mysql_install_db; }

mkdir -p "$LOCAL_BIN"
install_requirements
provide_redis
provide_mariadb
