# Sourced by the other scripts: makes the Python environment with the extras asked for, once, and again when
# pyproject.toml changes. Works offline from the second run on.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Any Python from 3.11 on; PYTHON names another one.
find_python() {
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "measurand needs Python 3.11 or newer; install it, or name it with PYTHON=/path/to/python" >&2
  return 1
}

# need_environment EXTRA: an environment with that extra installed, first in PATH. `dev` holds `test`, and `test` all
# that `quickstart` needs, so a larger one that is there already serves. The peers of the benchmarks (`bench`) bring
# a hundred packages with pins of their own; they get an environment apart, so that no test ever meets them.
need_environment() {
  local extra=$1 home=.venv serves stamp wanted python
  case $extra in
    bench) home=.tools/bench serves="bench" ;;
    server,arrays) serves="server,arrays test dev" ;;
    test) serves="test dev" ;;
    *) serves=$extra ;;
  esac
  export PATH="$root/$home/bin:$root/.tools:$PATH"
  wanted=$(cksum pyproject.toml client/measurand/client/_version.py; pwd)
  for stamp in $serves; do
    if [ -x "$home/bin/python" ] && [ "$(cat "$home/installed-$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  done
  if ! [ -x "$home/bin/python" ]; then
    python=$(find_python)
    mkdir -p "$(dirname "$home")"
    "$python" -m venv "$home"
  fi
  echo "installing measurand[$extra] into $home …" >&2
  # hatchling stays in the environment, so that a later editable install needs no network.
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check "hatchling>=1.27" "editables>=0.5"
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[$extra]"
  printf '%s' "$wanted" > "$home/installed-$extra"
}
