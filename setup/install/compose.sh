#!/usr/bin/env bash
# The container deployment behind `make install`, `restart`, `status`, `logs`, `clean`, `backup`, `restore`, `migrate`,
# `scale`, `add-symbol` and `swarm`. Needs Docker Engine 25 or newer with Compose 2.24 or newer, and nothing else on the host.
#
# Exit codes: 0 done and healthy; 1 something is not healthy or failed; 2 bad input or Docker is not usable.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$ROOT"
PROJECT=3t
IMAGE="3t:${T3_VERSION:-local}"
READY_SECS="${READY_SECS:-300}"
MADE_BY_INSTALL=.local/docker/secrets
# Everything that reads config.yml; servers and dashboards do not.
APPLICATION=(paper-exchange order-gateway exchange-observer-1 exchange-observer-2 price-producer price-sampler
  recorder balance-consumer take-profit celery_beat celery_worker_high celery_worker
  celery_worker_research flower platform-metrics)

say() { printf '3T: %s\n' "$*" >&2; }

die() {
  printf '3T: %s\n' "$*" >&2
  exit "${CODE:-2}"
}

# The profile that .env names, and those that a person has started: while their containers are there, they are built,
# upgraded and restarted with the rest.
profiles() {
  local there
  there="$(docker ps --all --filter "label=com.docker.compose.project=$PROJECT" \
    --format '{{.Label "com.docker.compose.service"}}')"
  {
    if [ -r .env ]; then sed -n 's/^COMPOSE_PROFILES=\(..*\)/\1/p' .env; fi
    if grep -qx celery_worker_research <<<"$there"; then echo research; fi
    if grep -qx cors-proxy <<<"$there"; then echo cors-proxy; fi
    if grep -qx loki <<<"$there"; then echo logs; fi
  } | paste -sd, -
}

compose() { COMPOSE_PROFILES="${COMPOSE_PROFILES-$(profiles)}" docker compose --project-name "$PROJECT" "$@"; }
# `down` and the like must reach services of profiles that are not chosen now.
compose_all() { COMPOSE_PROFILES='*' compose "$@"; }

# at_least FOUND WANTED: versions
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

require_docker() {
  local found
  command -v docker >/dev/null || die "docker is not installed: see https://docs.docker.com/engine/install/"
  found="$(docker version --format '{{.Server.Version}}' 2>/dev/null)" ||
    die "the Docker engine does not answer: start it, and check that this user may use it ('docker version')"
  at_least "$found" 25 || die "Docker Engine is $found; 25 or newer is needed"
  found="$(docker compose version --short 2>/dev/null)" || die "the compose plugin is missing: install docker-compose-plugin"
  at_least "${found#v}" 2.24 || die "Docker Compose is $found; 2.24 or newer is needed"
}

require_install() {
  require_docker
  [ -r "$MADE_BY_INSTALL/redis.env" ] || die "there is no deployment in this folder yet: run 'make install'"
}

# In the image, with this folder: what writes configuration runs as the user who called make.
in_image() {
  docker run --rm --network none --user "$(id -u):$(id -g)" --env HOME=/tmp --volume "$ROOT:/project" "$IMAGE" "$@"
}

prepare() {
  in_image python -m deployment.prepare /project || die "the configuration cannot be used (see above): correct it and run this again"
}

# --- state of the containers ------------------------------------------------------------------------------------------

# One line per container: service, name, state, health or exit code, address that tells whether it is ready.
containers() {
  local ids
  ids="$(docker ps --all --quiet --filter "label=com.docker.compose.project=$PROJECT" \
    --filter "label=com.docker.compose.oneoff=False")"
  [ -n "$ids" ] || return 0
  # shellcheck disable=SC2086  # one word per id
  docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}|{{slice .Name 1}}|{{.State.Status}}|{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.ExitCode}}{{end}}|{{index .Config.Labels "t3.ready-url"}}' $ids | sort
}

answers() { curl --silent --fail --output /dev/null --max-time 3 "$1" 2>/dev/null; }

# judge SERVICE STATE HEALTH URL: healthy, starting or not healthy
judge() {
  case "$1:$2:$3" in
    migrate:exited:0) echo healthy ;;
    migrate:running:*) echo starting ;;
    *:running:healthy) echo healthy ;;
    *:running:starting | *:created:*) echo starting ;;
    *:running:0) if [ -z "$4" ] || answers "$4"; then echo healthy; else echo starting; fi ;;
    *) echo "not healthy" ;;
  esac
}

# Lines "verdict|service|name|state" of all containers.
verdicts() {
  local service name state health url
  containers | while IFS='|' read -r service name state health url; do
    printf '%s|%s|%s|%s\n' "$(judge "$service" "$state" "$health" "$url")" "$service" "$name" "$state"
  done
}

# What the last probe of a container said, in one line; empty where it has none.
last_probe() {
  docker inspect --format '{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}' "$1" |
    sed '/^[[:space:]]*$/d' | tail -n 1
}

status() {
  local verdict service name state probe all_healthy=yes
  while IFS='|' read -r verdict service name state; do
    [ -n "$name" ] || continue
    probe="$(last_probe "$name")"
    printf '  %-12s %-28s %s\n' "$verdict" "$name" "$probe"
    [ "$verdict" = healthy ] || all_healthy=no
  done < <(verdicts)
  [ "$all_healthy" = yes ]
}

# Until everything is healthy: 0; 1 when the time is over.
wait_until_healthy() {
  local deadline=$((SECONDS + READY_SECS)) waiting shown=""
  while :; do
    waiting="$(verdicts | awk -F'|' '$1 != "healthy" { print $2 }' | sort -u | paste -sd' ' -)"
    [ -n "$waiting" ] || return 0
    [ "$SECONDS" -lt "$deadline" ] || return 1
    [ "$waiting" = "$shown" ] || say "waiting for: $waiting"
    shown="$waiting"
    sleep 2
  done
}

# What is wrong, in whose words, and what to do. Those that only wait for others are named, not explained.
report() {
  local all chosen verdict service name state
  all="$(verdicts | awk -F'|' '$1 != "healthy"')"
  chosen="$(awk -F'|' '$1 == "not healthy"' <<<"$all")"
  [ -n "$chosen" ] || chosen="$all"
  while IFS='|' read -r verdict service name state; do
    [ -n "$name" ] || continue
    printf '\n--- %s (%s, %s)\n' "$name" "$verdict" "$state" >&2
    printf 'probe: %s\n' "$(last_probe "$name")" >&2
    docker logs --tail 15 "$name" 2>&1 | cut -c1-400 >&2
    advise "$service" >&2
  done <<<"$chosen"
  printf '\n' >&2
  say "not healthy: $(cut -d'|' -f2 <<<"$chosen" | sort -u | paste -sd' ')"
  say "waiting for others: $(grep '^starting|' <<<"$all" | cut -d'|' -f2 | sort -u | paste -sd' ')"
  say "once the cause is gone, run this again: what is healthy is left alone"
}

advise() {
  local what
  case "$1" in
    migrate | mariadb) what="is its password the one the volume was made with (see above)? Is the disk full ('docker system df')?" ;;
    redis) what="is the disk full ('docker system df')? Memory limit reached ('docker stats')?" ;;
    paper-exchange | exchange-observer-* | price-producer) what="can the venue be reached from here? Its address follows 'mode' and 'proxy' in config.yml" ;;
    order-gateway) what="the probe names what it waits for; walletAddress and privateKey in secrets.yml belong together" ;;
    celery_* | price-sampler | recorder) what="these follow the price producer, Redis and MariaDB: look at those first" ;;
    *) what="'make logs SERVICE=$1' shows more; a port of it may be taken by another program" ;;
  esac
  printf 'what to do: %s\n' "$what"
}

# --- commands ---------------------------------------------------------------------------------------------------------

install() {
  require_docker
  command -v curl >/dev/null || die "curl is not installed; it asks the collector and Tempo whether they are ready"
  say "building the images (some minutes the first time)"
  # shellcheck disable=SC2046  # one word per service
  compose build --quiet $(existing migrate celery_worker recorder celery_worker_research) ||
    CODE=1 die "the images could not be built (see above)"
  prepare
  say "starting"
  if ! compose up --detach --remove-orphans; then
    report
    exit 1
  fi
  settle
}

settle() {
  if ! wait_until_healthy; then
    report
    exit 1
  fi
  urls
}

urls() {
  cat <<END
3T is up, and every container does its work.
  Grafana      http://127.0.0.1:3000   user admin, password: grafana.admin_password in secrets.yml
  Flower       http://127.0.0.1:5555   user flower, password: flower.password in secrets.yml
  Prometheus   http://127.0.0.1:9090
  Gateway      http://127.0.0.1:8002/docs
  Observers    http://127.0.0.1:8001/3T-observer.json, http://127.0.0.1:8011/3T-observer.json
  Queues       docker compose exec redis redis-cli LLEN high_priority
make status, make logs SERVICE=order-gateway, make restart after a change of config.yml
END
}

# Those of the named services that the chosen profiles have.
existing() {
  local all service
  all="$(compose config --services)"
  for service in "$@"; do
    if grep -qx "$service" <<<"$all"; then printf '%s ' "$service"; fi
  done
}

restart() {
  require_install
  prepare
  say "starting everything that reads config.yml anew"
  # shellcheck disable=SC2046  # one word per service
  if ! compose up --detach --no-build --no-deps --force-recreate $(existing "${APPLICATION[@]}"); then
    report
    exit 1
  fi
  settle
}

# Of a service, or of a container by the name that `status` shows.
logs() {
  local service="${1:-}" known
  require_install
  service="${service#3t_}"
  known="$(compose_all config --services | sort)"
  [ -z "$service" ] || grep -qxF -- "$service" <<<"$known" ||
    die "there is no service '$service'; there are: $(paste -sd' ' - <<<"$known")"
  # shellcheck disable=SC2086  # no word where no service is named
  compose_all logs --tail "${TAIL:-100}" ${FOLLOW:+--follow} $service
}

clean() {
  require_docker
  if [ "${VOLUMES:-}" = yes ]; then
    say "removing this project's containers, networks and volumes"
    compose_all down --remove-orphans --volumes
  else
    say "removing this project's containers and networks; the volumes stay (VOLUMES=yes removes them, too)"
    compose_all down --remove-orphans
  fi
}

migrate() {
  require_install
  prepare
  compose run --rm --no-deps migrate
}

scale() {
  local workers="${1:-}"
  [[ "$workers" =~ ^[1-9][0-9]?$ ]] || die "make scale WORKERS=n, n from 1 to 99"
  require_install
  sed -i.bak "s/^WORKERS=.*/WORKERS=$workers/" .env && rm -f .env.bak
  compose up --detach --no-build --no-deps --no-recreate celery_worker
  settle
}

add_symbol() {
  local symbol="${1:-}"
  [[ "$symbol" =~ ^([a-z0-9]+:)?[A-Za-z0-9]{1,20}$ ]] || die "make add-symbol SYMBOL=AVAX: a coin as HyperLiquid names it"
  require_install
  compose exec -T price-sampler python -m deployment.symbols check "$symbol"
  in_image python -m deployment.symbols add "$symbol" /project/config.yml
  restart
}

running() { [ -n "$(compose_all ps --quiet --status running "$1")" ]; }

# In the image, as its user and without network, for volumes whose files belong to the containers' user.
with_volume() {
  local volume="$1"
  shift
  docker run --rm --interactive --network none --volume "3t_$volume:/data" "$IMAGE" "$@"
}

# The venue keeps its database to itself; held still for a moment, file and write-ahead log belong together.
copy_paper_state() {
  local paused=no
  if running paper-exchange; then
    compose_all pause paper-exchange >/dev/null 2>&1 && paused=yes
    trap 'compose_all unpause paper-exchange >/dev/null 2>&1' EXIT
  fi
  with_volume paper_data tar -C /data -cf - . >"$1"
  if [ "$paused" = yes ]; then compose_all unpause paper-exchange >/dev/null 2>&1; fi
  trap - EXIT
}

backup() {
  local folder
  require_install
  folder="${TO:-backups/$(date -u +%Y%m%dT%H%M%SZ)}"
  [ ! -e "$folder" ] || die "$folder is there already"
  running mariadb || die "MariaDB does not run: 'make install' first"
  umask 077
  mkdir -p "$folder"
  say "dumping MariaDB"
  # shellcheck disable=SC2016  # expanded in the container
  compose exec -T mariadb sh -c 'MYSQL_PWD="$(cat /run/secrets/mariadb_root_password)" exec mariadb-dump --user=root \
    --single-transaction --quick --databases --add-drop-database 3t' | gzip >"$folder/mariadb.sql.gz" ||
    CODE=1 die "the dump failed (see above); what is in $folder is not complete"
  say "copying the gateway's audit trail and emergency journal"
  with_volume gateway_data tar -C /data -cf - . >"$folder/gateway.tar"
  if docker volume inspect 3t_paper_data >/dev/null 2>&1; then
    say "copying the paper exchange's state"
    copy_paper_state "$folder/paper.tar"
  fi
  cp config.yml "$folder/config.yml"
  # shellcheck disable=SC2016
  compose exec -T mariadb sh -c 'MYSQL_PWD="$(cat /run/secrets/mariadb_root_password)" exec mariadb --user=root 3t \
    --execute "INSERT INTO backups (finished_ms) VALUES (1000 * UNIX_TIMESTAMP())"' ||
    say "the backup is whole, but the database could not note it, so the alert BackupOld may come: 'make migrate'"
  say "done: $folder (secrets.yml is not in it: keep that elsewhere)"
}

restore() {
  local folder="${1:-}" file
  require_install
  [ -n "$folder" ] || die "make restore FROM=backups/…"
  for file in mariadb.sql.gz gateway.tar; do
    [ -r "$folder/$file" ] || die "$folder: has no $file, so it is no backup of ours"
  done
  gzip --test "$folder/mariadb.sql.gz" || die "$folder/mariadb.sql.gz is damaged"
  [ "${YES:-}" = yes ] ||
    die "this replaces the database, the audit trail and the paper exchange's state: make restore FROM=$folder YES=yes"
  say "stopping everything but the servers"
  # shellcheck disable=SC2046
  compose stop $(existing "${APPLICATION[@]}")
  compose up --detach --no-build --wait mariadb redis
  say "restoring MariaDB"
  # shellcheck disable=SC2016
  gzip --decompress --stdout "$folder/mariadb.sql.gz" | compose exec -T mariadb sh -c \
    'MYSQL_PWD="$(cat /run/secrets/mariadb_root_password)" exec mariadb --user=root'
  # What Redis holds belongs to the database that was replaced; it is rebuilt from the restored one.
  compose exec -T redis redis-cli FLUSHALL >/dev/null
  say "restoring the gateway's files"
  with_volume gateway_data sh -c 'find /data -mindepth 1 -delete && tar -C /data -xf -' <"$folder/gateway.tar"
  if [ -r "$folder/paper.tar" ]; then
    say "restoring the paper exchange's state"
    with_volume paper_data sh -c 'find /data -mindepth 1 -delete && tar -C /data -xf -' <"$folder/paper.tar"
  fi
  migrate
  compose run --rm --no-deps migrate python -m deployment.restored
  compose up --detach --no-build
  settle
}

swarm() {
  require_install
  in_image python -m deployment.swarm /project >stack.yml || die "stack.yml could not be written (see above)"
  docker stack config --compose-file stack.yml >/dev/null || CODE=1 die "Docker refuses stack.yml (see above)"
  say "stack.yml is written; docs/scaling.md says how to go on"
}

command="${1:-}"
[ $# -eq 0 ] || shift
case "$command" in
  install) install ;;
  restart) restart ;;
  status)
    require_install
    [ -n "$(containers)" ] || die "no container of this deployment exists: run 'make install'"
    status
    ;;
  logs) logs "$@" ;;
  clean) clean ;;
  migrate) migrate ;;
  scale) scale "$@" ;;
  add-symbol) add_symbol "$@" ;;
  backup) backup ;;
  restore) restore "$@" ;;
  swarm) swarm ;;
  *) die "usage: compose.sh install|restart|status|logs|clean|migrate|scale|add-symbol|backup|restore|swarm" ;;
esac
