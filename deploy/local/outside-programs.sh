#!/usr/bin/env bash
# The outside programs that tests drive: root installs those that are missing, from Debian's packages.
# Without root it only says which; tests that need them then skip with a message, and fail in CI.
set -euo pipefail

declare -A package_of=(
  [curl]=curl [rclone]=rclone [cadaver]=cadaver [litmus]=litmus [davix-put]=davix [kcat]=kcat
  [chromium]=chromium [chromedriver]=chromium-driver [java]=openjdk-17-jre-headless [mvn]=maven
  [jq]=jq [setfacl]=acl [node]=nodejs [npm]=npm
  [gfal-copy]="python3-gfal2 python3-gfal2-util gfal2-util-scripts gfal2-plugin-http"
  [xrootd]="xrootd-server xrootd-server-plugins xrootd-plugins"
)
missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || missing+=(${package_of[$program]})
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "· installing ${missing[*]} (apt)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1
else
  echo "· not installed, and only root can install them: ${missing[*]}; tests that need them skip" >&2
fi
