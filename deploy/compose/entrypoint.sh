#!/bin/sh
# Storage and API share a key. Where none is given, the first to start makes one, in their volume.
set -eu
keys=/var/lib/storage-events/keys
if [ -z "${STORAGE_EVENTS_SERVICE_KEY:-}" ] && [ -w "$keys" ]; then
  umask 077
  new=$(mktemp "$keys/new.XXXXXX")
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$new"
  ln "$new" "$keys/service-key" 2>/dev/null || true # somebody else was first: theirs counts
  rm -f "$new"
  STORAGE_EVENTS_SERVICE_KEY=$(cat "$keys/service-key")
  export STORAGE_EVENTS_SERVICE_KEY
fi
exec "$@"
