#!/usr/bin/env bash
# A command of a person, at the platform that runs here: by_hand.sh SERVICE MODULE [ARGUMENT ...]
#
# The platform is the one that T3_CONFIG and T3_SECRETS name; else the demo, while one runs in this folder; else the
# containers of `make install`, where MODULE runs inside SERVICE, which alone reaches the database or knows the token.
# The exit code is the command's own; 2 if nothing runs here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

service="$1" module="$2"
shift 2

if [ -z "${T3_CONFIG:-}${T3_SECRETS:-}" ]; then
  if [ -r .local/demo/processes.json ]; then
    # shellcheck source=/dev/null  # written by the demo
    . .local/demo/environment
  elif [ -r .local/docker/secrets/redis.env ]; then
    running="$(docker compose --project-name 3t ps --quiet --status running "$service")" || exit 2
    [ -n "$running" ] || {
      echo "$module: the container of $service does not run; 'make status' says more" >&2
      exit 2
    }
    # Whoever asks is in the audit trail; without a terminal, as in cron, docker must not want one.
    terminal=()
    [ -t 1 ] || terminal=(-T)
    exec docker compose --project-name 3t exec "${terminal[@]}" --env "USER=$(id -un)" "$service" python -m "$module" "$@"
  elif [ ! -r secrets.yml ]; then
    echo "$module: no platform runs here: start a demo ('make demo') or the containers ('make install')," \
      "or name another by T3_CONFIG and T3_SECRETS" >&2
    exit 2
  fi
fi

setup/native/bootstrap.sh
exec .venv/bin/python -m "$module" "$@"
