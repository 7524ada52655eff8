#!/usr/bin/env bash
# Does what dCache's ada does, as ada does it: headers by awk, the stream line by line, JSON by jq.
#
#   ada_like.sh API PATH COUNT      prints "name mask" of COUNT events, then tidies up
set -euo pipefail
api=$1 path=$2 count=$3
user=alice:alice-demo
json=(-H "Content-Type: application/json")

fail() { echo "ada: $*" >&2; exit 1; }

# Who am I? It refuses to go on when the answer does not say so.
curl -sS -u "$user" -X GET "$api/user" | jq -r .status | grep -q AUTHENTICATED || fail "not authenticated"

# What is there? Slashes are encoded.
encoded=$(jq -rn --arg path "$path" '$path|@uri')
[ "$(curl -sS -u "$user" -X GET "$api/namespace/$encoded" | jq -r .fileType)" = DIR ] || fail "$path is no directory"

# A channel: the header is found by its name as it is spelled, whatever else there is.
channel=$(curl -sS -u "$user" -X POST "$api/events/channels" "${json[@]}" -d '{"client-id":"ada-like"}' \
  --dump-header - | awk '/Location:/ {print $2}' | tr -d '\r')
[ "$(wc -l <<<"$channel")" = 1 ] || fail "not one Location: $channel"
listed=$(curl -sS -u "$user" -X GET "$api/events/channels?client-id=ada-like" | jq -r '.[]')
grep -qxF "$channel" <<<"$listed" || fail "the channel is not listed"
curl -sS -u "$user" -X PATCH "$channel" "${json[@]}" -d '{"timeout":600}'

# A subscription, and once more as with --resume. What curl prints would stand in the output.
for _ in 1 2; do
  curl -sS -u "$user" -X POST "$channel/subscriptions/inotify" "${json[@]}" \
    -d "$(jq -n --arg path "$path" '{path: $path}')"
done

# Channels and subscriptions are printed as tables; an array in one of them would end it.
curl -sS -u "$user" -X GET "$channel" | jq -r 'to_entries[]|[.key, .value]|@tsv' >&2
curl -sS -u "$user" -X GET "$channel/subscriptions" | jq -r '.[]' | while read -r subscription; do
  curl -sS -u "$user" -X GET "$subscription" | jq -r 'to_entries[]|[.key, .value]|@tsv' >&2
done

# The stream. An unknown field ends it; data counts once the kind is known.
told=0 kind="" last=""
exec 3< <(exec curl -sS -u "$user" --no-buffer -X GET "$channel" -H "Accept: text/event-stream")
reader=$!
while [ "$told" -lt "$count" ] && IFS= read -r line <&3; do
  case ${line%%:*} in
    event) kind=${line#event: } ;;
    id) last=$(grep -Eo '[0-9]+' <<<"${line#id: }") ;;
    data)
      case $kind in
        inotify)
          jq -r '.event | [.name // "", (.mask | join(","))] | @tsv' <<<"${line#data: }"
          told=$((told + 1))
          [ -n "$last" ] || fail "an event without id" ;;
        SYSTEM) jq -r .type <<<"${line#data: }" >&2 ;;
        *) fail "don't know how to handle event type '$kind'" ;;
      esac ;;
    "") kind="" ;;
    *) fail "unknown field in '$line'" ;;
  esac
done
exec 3<&-
kill "$reader" 2>/dev/null || true

curl -sS -u "$user" -X DELETE "$channel"
