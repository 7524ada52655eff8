#!/usr/bin/env bash
# The compose file on a real engine: built, up, healthy; a file in by curl, its event out by curl; down.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/compose/engine.sh

# Ports of its own, so that it runs beside `make up`.
export API_PORT=${API_PORT:-13880} WEBDAV_PORT=${WEBDAV_PORT:-12880} REST_PORT=${REST_PORT:-13881}
export KAFKA_PORT=${KAFKA_PORT:-19192} REDIS_PORT=${REDIS_PORT:-16379}
export COMPOSE_PROJECT_NAME=storage-events-test
api=http://127.0.0.1:$API_PORT/api/v1/events
webdav=http://127.0.0.1:$WEBDAV_PORT

find_engine
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
work=$(mktemp -d)

finish() {
  status=$?
  trap - EXIT
  [ "$status" = 0 ] || { "${compose[@]}" ps; "${compose[@]}" logs --tail=30; } || true
  "${compose[@]}" down -v --timeout 15 >"$work/down.log" 2>&1 || { cat "$work/down.log"; status=1; }
  rm -rf "$work"
  stop_engine
  exit "$status"
}
trap finish EXIT

base_images
echo "· building"
"${compose[@]}" build >"$work/build.log" 2>&1 || { tail -60 "$work/build.log"; exit 1; }
echo "· ${compose[*]} up"
"${compose[@]}" up -d

ready() { curl -fsS -o /dev/null "http://127.0.0.1:$API_PORT/health/ready" 2>/dev/null; }
for _ in $(seq 180); do ready && break; sleep 1; done
ready || { echo "the API is not ready after 180 s" >&2; exit 1; }

for service in storage worker api; do
  user=$("${compose[@]}" exec -T "$service" id -u)
  [ "$user" != 0 ] || { echo "$service runs as root" >&2; exit 1; }
done

alice=(-fsS -u alice:alice-demo)
channel=$(curl "${alice[@]}" -D - -o /dev/null -X POST "$api/channels" | tr -d '\r' | sed -n 's/^Location: //p')
curl "${alice[@]}" -H 'Content-Type: application/json' -d '{"path":"/data/exp"}' \
  -o /dev/null "$channel/subscriptions/inotify"
curl "${alice[@]}" -N -H 'Accept: text/event-stream' "$channel" >"$work/events" &
reader=$!
echo hello | curl "${alice[@]}" -o /dev/null -T - "$webdav/data/exp/hello.txt"
for _ in $(seq 30); do grep -q IN_CLOSE_WRITE "$work/events" && break; sleep 1; done
kill "$reader"
cat "$work/events"
grep -q '"name":"hello.txt","mask":\["IN_CREATE"\]' "$work/events"
grep -q '"name":"hello.txt","mask":\["IN_CLOSE_WRITE"\]' "$work/events"
[ "$(curl -s -o /dev/null -w '%{http_code}' -u bob:bob-demo "$webdav/data/exp/hello.txt")" != 200 ]
echo "· the event of the upload arrived; compose-test passed"
