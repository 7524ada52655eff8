#!/usr/bin/env bash
# Sourced by run.sh: finds a Docker engine or, as root on Debian, starts one of its own below .run/,
# and stands in for the public base images where they cannot be pulled.

engine_dir="$PWD/.run/docker"

have_engine() { docker info >/dev/null 2>&1; }

# Installs what an engine of our own needs.
install_engine() {
  command -v dockerd >/dev/null && command -v debootstrap >/dev/null && return
  echo "· installing docker.io, docker-compose, debootstrap (apt)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends docker.io docker-compose iptables debootstrap >/dev/null
}

# Sets DOCKER_HOST to an engine that answers; ends the script where none can be had.
find_engine() {
  # Debian's client: it has BuildKit; another one in front of it may not.
  [ -x /usr/bin/docker ] && PATH=/usr/bin:$PATH
  have_engine && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no Docker engine answers, and only root on Debian can start one here" >&2
    exit 2
  fi
  install_engine
  PATH=/usr/bin:$PATH
  mkdir -p "$engine_dir"
  export DOCKER_HOST="unix://$engine_dir/d.sock"
  have_engine && return
  echo "· starting a Docker engine in .run/docker"
  rm -f "$engine_dir/dockerd.pid"
  nohup dockerd --iptables=false --ip6tables=false --storage-driver=overlay2 \
    --data-root "$engine_dir/data" --exec-root "$engine_dir/exec" -p "$engine_dir/dockerd.pid" \
    -H "$DOCKER_HOST" >"$engine_dir/dockerd.log" 2>&1 &
  for _ in $(seq 60); do have_engine && return; sleep 0.5; done
  echo "the engine does not answer; the end of its log:" >&2
  tail -15 "$engine_dir/dockerd.log" >&2
  exit 1
}

# Ends the engine that find_engine started, if it did.
stop_engine() {
  [ -f "$engine_dir/dockerd.pid" ] || return 0
  kill "$(cat "$engine_dir/dockerd.pid")" 2>/dev/null || true
}

have_image() { docker image inspect "$1" >/dev/null 2>&1 || docker pull -q "$1" >/dev/null 2>&1; }

# A Debian as its public image is, from Debian's packages, with this machine's certificates.
stand_in_debian() {
  local root="$engine_dir/rootfs"
  echo "· no registry: making debian:bookworm-slim from packages"
  rm -rf "$root"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$engine_dir/debootstrap.log"
  awk -v to="$root/usr/local/share/ca-certificates/host-" \
    '/BEGIN CERT/ {n++} {print > (to n ".crt")}' /etc/ssl/certs/ca-certificates.crt
  chroot "$root" update-ca-certificates >/dev/null 2>&1
  tar -C "$root" -c . | docker import --change 'CMD ["bash"]' \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
    --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' - debian:bookworm-slim >/dev/null
  rm -rf "$root"
}

# Makes the public images that the Dockerfiles and the compose file name, where no registry has them.
base_images() {
  have_image debian:bookworm-slim || stand_in_debian
  have_image python:3.11-slim-bookworm || stand_in python:3.11-slim-bookworm python3 python3-venv
  have_image redis:7-alpine || stand_in redis:7-alpine redis-server
}

stand_in() {
  local tag=$1
  shift
  echo "· no registry: making $tag from packages"
  printf 'FROM debian:bookworm-slim\nRUN apt-get update && apt-get install -y --no-install-recommends %s\n' "$*" |
    docker build -q --network=host -t "$tag" - >/dev/null
}
