#!/usr/bin/env bash
# Brings the compose lab up from a clean checkout, without a registry, and holds it to its promises: everything becomes
# healthy; only connectors join the networks; both edges reach origins with equal addresses in both networks; a killed
# connector, a killed origin and a connector that is cut off cost no request. Leaves nothing behind. With --as-built the image is
# made of what `cargo build` has left, see images.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

# One run at a time, and none for ever: a daemon that hangs would hang this too.
readonly RUN_MAX=900
if [ -z "${SMOKE_GUARDED:-}" ]; then
  SMOKE_GUARDED=1 exec timeout -k 60 "$RUN_MAX" flock -w "$RUN_MAX" "${TMPDIR:-/tmp}/underpass-smoke.lock" "$0" "$@"
fi

# A project, and images, of its own: a lab that somebody plays with keeps its containers.
readonly PREFIX=underpass-smoke-
readonly PROJECT=$PREFIX$$
export UNDERPASS_IMAGE=$PROJECT:edge-and-connector UNDERPASS_LAB_TOOLS_IMAGE=$PROJECT:tools
# The lab's networks are 10.207.1.0/24 and 10.207.2.0/24; here they get the first second byte from there on that is free.
readonly FIRST_BYTE=207 LAST_BYTE=254
readonly EDGES="edge-1 edge-2"
# Every wait ends after this, seconds: a busy machine is slow, not broken.
readonly WAIT_MAX=90
work=$(mktemp -d)

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

die() {
  say "FAILED: $*" >&2
  exit 1
}

docker info >/dev/null 2>"$work/docker" & pid=$!
for _ in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
kill $pid 2>/dev/null && die "the Docker daemon does not answer within 10 s"
wait $pid || die "the Docker daemon does not run, or may not be asked: $(head -1 "$work/docker"); as root, \`dockerd &\` starts it"

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose() { "${compose[@]}" -p "$PROJECT" -f "$work/docker-compose.yml" "$@"; }

# down: ends this run's lab, and what a run that was killed has left.
down() {
  local project
  for project in $(docker network ls --format '{{.Label "com.docker.compose.project"}}' | grep "^$PREFIX" | sort -u); do
    "${compose[@]}" -p "$project" -f "$work/docker-compose.yml" down -v --remove-orphans -t 1 >"$work/down" 2>&1 ||
      say "Docker does not let go of everything: $(tail -1 "$work/down")"
  done
}

# free_byte: the second byte of networks that Docker does not have yet.
free_byte() {
  local used byte
  used=$(docker network ls -q | xargs docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}')
  for ((byte = FIRST_BYTE; byte <= LAST_BYTE; byte++)); do
    grep -q "10\.$byte\." <<<"$used" || { echo "$byte"; return; }
  done
  die "no free addresses for the lab's networks"
}

leave() {
  local code=$?
  trap - EXIT
  if [ "$code" != 0 ]; then
    compose ps || true
    compose logs --no-color --tail 15 || true
    tail -n 5 "$work"/load.* 2>/dev/null || true
  fi
  down
  docker rmi "$UNDERPASS_IMAGE" "$UNDERPASS_LAB_TOOLS_IMAGE" >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$code"
}

# until_true WHAT COMMAND...: waits for a command to succeed.
until_true() {
  local what=$1 end=$((SECONDS + WAIT_MAX))
  shift
  until "$@" >"$work/last" 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { cat "$work/last"; die "not within $WAIT_MAX s: $what"; }
    sleep 0.2
  done
}

# client COMMAND...: on the public network, where clients are.
client() { docker exec "$client" "$@"; }

# status EDGE WORDS...: whether a line of the edge's status begins with these words.
status() {
  local edge=$1
  shift
  docker exec "${ids[$edge]}" /underpass status --all >"$work/status"
  sed 's/  */ /g' "$work/status" | grep "^ $*\( \|\$\)"
}

# all_well EDGE: whether the edge finds fault with nothing.
all_well() {
  docker exec "${ids[$1]}" /underpass status --all >"$work/status" || return 1
  ! grep -E 'unhealthy|degraded|critical|unknown|inactive|down' "$work/status"
}

# beside SERVICE COMMAND: runs a shell command in the network of a container that has no shell.
beside() {
  docker run --rm --network "container:${ids[$1]}" --read-only --cap-drop ALL "$UNDERPASS_LAB_TOOLS_IMAGE" sh -c "$2"
}

# reaches SERVICE yes|no URL...: whether what stands where the service stands reaches these.
reaches() {
  local from=$1 right=$2 url found
  shift 2
  beside "$from" "for url in $*; do curl -s -m 2 -o /dev/null \$url && echo \$url yes || echo \$url no; done" >"$work/reached" ||
    die "cannot look from $from"
  while read -r url found; do
    [ "$found" = "$right" ] || die "from $from to $url: expected $right, found $found"
  done <"$work/reached"
}

all_healthy() {
  local states
  states=$(docker inspect -f '{{.Name}} {{.State.Health.Status}}' "${ids[@]}")
  echo "$states"
  ! grep -qv ' healthy$' <<<"$states"
}

hardened() {
  local right="true 65532:65532 [ALL] [] unless-stopped [no-new-privileges:true] false"
  docker inspect -f '{{.Name}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}' \
    "${ids[@]}" >"$work/hardened"
  ! grep -vF " $right" "$work/hardened" || die "not as hardened as the rest: $right"
}

# answered EDGE: requests that were answered over HTTP until now.
answered() { grep -c '^http 200 0$' "$work/load.$1" || true; }

# load_goes_on: waits until each edge has answered 30 requests more.
load_goes_on() {
  local edge before
  for edge in $EDGES; do
    before=$(answered "$edge")
    until_true "30 more answers of $edge" eval "[ \$(answered $edge) -ge $((before + 30)) ]"
  done
}

# both WHAT WORDS...: waits until the status of both edges has a line that begins with these words.
both() {
  local edge what=$1
  shift
  for edge in $EDGES; do until_true "$what at $edge" status "$edge" "$@"; done
}

# judge KIND MOST RIGHT: all lines of a kind must be right, but for at most so many, and there must be some.
judge() {
  local kind=$1 most=$2 right=$3 all wrong
  cat "$work"/load.* | grep "^$kind " >"$work/$kind"
  all=$(wc -l <"$work/$kind")
  wrong=$(grep -cvE "^$kind $right\$" "$work/$kind" || true)
  say "$kind: $all asked, $wrong failed"
  [ "$all" -ge 50 ] || die "too few: the load did not run"
  [ "$wrong" -le "$most" ] || { grep -vE "^$kind $right\$" "$work/$kind" | head -5; die "at most $most may"; }
}

trap leave EXIT
trap 'exit 143' TERM INT
cp -r docker-compose.yml deploy "$work"
down
byte=$(free_byte)
sed -i "s/10\.$FIRST_BYTE\./10.$byte./g" "$work/docker-compose.yml" "$work"/deploy/lab/*

tests/compose/images.sh "$@" >/dev/null
say "images built"
compose up -d >"$work/up" 2>&1 || { cat "$work/up"; die "the lab does not come up"; }
declare -A ids # service → container, of all that stay
while read -r service container; do ids[$service]=$container; done < <(
  docker ps --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Label "com.docker.compose.service"}} {{.ID}}'
)
[ "${#ids[@]}" = 15 ] || die "15 services stay up, not ${#ids[@]}: ${!ids[*]}"
client=${ids[client]}
until_true "every service is healthy" all_healthy
hardened
for edge in $EDGES; do until_true "all is healthy at $edge" all_well "$edge"; done
say "${#ids[@]} services healthy, read-only, without capabilities"

address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "${ids[edge-1]}")
red=http://10.$byte.1.10:8080/ blue=http://10.$byte.2.10:8080/
reaches edge-1 no "$red" "$blue"
reaches client no "$red" "$blue"
reaches web-red-1 no "http://$address:8080/" "$blue"
reaches web-blue-1 no "http://$address:8080/" "$red"
reaches red-1 yes "http://$address:8080/" "$red"
reaches blue-1 yes "http://$address:8080/" "$blue"
say "only connectors join the networks"

for network in 1:red 2:blue; do
  name=${network#*:}
  client redis-cli -h edge-1 -p "630${network%:*}" set who "$name" >/dev/null
  for edge in $EDGES; do
    client curl -sS -m 10 "http://$edge:8080/$name" | grep -E "^web-$name-[12] through $name-[12]\$" >/dev/null || die "HTTP: $edge, $name"
    [ "$(client redis-cli -h "$edge" -p "630${network%:*}" get who)" = "$name" ] || die "TCP: $edge, $name"
    client dig +short "@$edge" -p "530${network%:*}" who.lab TXT | grep "name server of $name" >/dev/null || die "UDP: $edge, $name"
  done
done
say "HTTP, TCP and UDP through both edges to 10.7.0.0/24 twice"

for edge in $EDGES; do docker exec -i "$client" sh -s "$edge" <tests/compose/load.sh >"$work/load.$edge" 2>&1 & done
load_goes_on
docker kill "${ids[red-1]}" >/dev/null
load_goes_on
docker start "${ids[red-1]}" >/dev/null
both "red with both replicas" red healthy
say "a connector was killed and is back"

docker kill "${ids[web-red-1]}" >/dev/null
load_goes_on
docker start "${ids[web-red-1]}" >/dev/null
both "web-red with both origins" web-red healthy "2 of 2"
say "an origin was killed and is back"

docker network disconnect "${PROJECT}_public" "${ids[red-2]}"
both "red with one replica" red degraded
load_goes_on
docker network connect "${PROJECT}_public" "${ids[red-2]}"
both "red with both replicas" red healthy
load_goes_on
say "a connector was cut off and is back"

client sh -c ': >/tmp/stop'
wait
judge http 0 '200 0'
# A TCP connection ends with the connector that carries it. At each edge one is open at a time, and two connectors went.
judge tcp 4 '(red red|blue blue)'
judge udp 0 '(red "name server of red"|blue "name server of blue")'
say "done"
