#!/usr/bin/env bash
# Watch a directory with curl only: examples/watch.sh PATH [USER:PASSWORD] [API_URL]
set -euo pipefail
path=$1 login=${2:-alice:alice-demo} api=${3:-${API_URL:-http://127.0.0.1:3880}}/api/v1/events

# A channel collects what we subscribe to; it is named by the Location header.
channel=$(curl -fsS -u "$login" -X POST -D - -o /dev/null "$api/channels" |
  tr -d '\r' | sed -n 's/^Location: //p')

curl -fsS -u "$login" -H 'Content-Type: application/json' \
  -d "{\"path\": \"$path\", \"flags\": [\"IN_CREATE\", \"IN_CLOSE_WRITE\", \"IN_DELETE\", \"IN_MOVE\"]}" \
  "$channel/subscriptions/inotify"

# The stream: lines "event:", "id:", "data:", then an empty one. Keep the last id to go on from there.
exec curl -fsSN -u "$login" -H 'Accept: text/event-stream' "$channel"
