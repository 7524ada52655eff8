#!/usr/bin/env bash
# Makes .venv, or brings it up to date with pyproject.toml. Nothing has to be prepared: where Debian's
# Python lacks venv, root installs it and everybody else gets a pip of their own.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || {
  echo "Python 3.11, 3.12 or 3.13 is needed; $python is $("$python" --version). Try: make PYTHON=python3.11 ..." >&2
  exit 1
}
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  echo "· making .venv"
  rm -rf .venv
  if ! "$python" -c 'import ensurepip' 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "· installing python3-venv (apt)"
    apt-get install -y -qq python3-venv >/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
  fi
  "$python" -m venv .venv || {
    echo "Python's venv module is incomplete: install python3-venv (apt-get install python3-venv)" >&2
    exit 1
  }
fi
echo "· installing the Python packages of pyproject.toml (once, about a minute)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install -q -e '.[dev,redis-server,demonstrators]' >.venv/install.log 2>&1 || {
  cat .venv/install.log >&2
  exit 1
}
touch .venv/.ready
