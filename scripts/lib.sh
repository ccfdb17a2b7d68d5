# Sourced by the scripts beside it: where the project is, what it needs from apt, and how it is built. Nothing is installed or
# built that is there already, so that a second run starts in seconds.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${NNC_BUILD:-$root/build}
cd "$root"

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The LLVM to build with: NNC_LLVM=N if that is set, else the oldest installed from 19 on, 19 itself where none is.
llvm_version() {
  local version
  if [ -n "${NNC_LLVM:-}" ]; then echo "$NNC_LLVM"; return; fi
  for version in 19 20 21 22; do
    if installed "llvm-$version-dev"; then echo "$version"; return; fi
  done
  echo 19
}

# The compiler is NNC_CXX (clang++-19, g++-12, ...) if that is set, else the system's g++; a build folder keeps the one it was made with.
compiler_package() {
  case "${NNC_CXX:-g++}" in
    clang++-*) echo "clang-${NNC_CXX#clang++-}" ;;
    clang++) echo clang ;;
    *) echo "${NNC_CXX:-g++}" ;;
  esac
}

build_packages() { echo "$(compiler_package) cmake ninja-build ccache libfmt-dev libcli11-dev nlohmann-json3-dev zlib1g-dev llvm-$(llvm_version)-dev"; }
test_packages() { echo "catch2 python3 llvm-$(llvm_version)-tools libopenmpi-dev openmpi-bin libmpich-dev mpich"; }

# install_missing PURPOSE PACKAGE...: installs those of the packages that are not there, and says so first.
install_missing() {
  local purpose=$1 package missing=() sudo=()
  shift
  command -v dpkg-query >/dev/null || { say "This is not Debian or Ubuntu; make sure that these are installed: $*"; return; }
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Needed to $purpose and not installed yet: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "Install them as root: apt-get install ${missing[*]}"
    say "They are installed from your system's own package archive with apt-get; sudo may ask for your password."
    sudo=(sudo)
  else
    say "They are installed from your system's own package archive with apt-get."
  fi
  "${sudo[@]}" apt-get update -qq </dev/null || say "apt-get update did not succeed everywhere; going on with the package lists there are"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >"/tmp/nnc-apt.$$" 2>&1 ||
    { tail -n 20 "/tmp/nnc-apt.$$" >&2; die "apt-get could not install: ${missing[*]}"; }
  rm -f "/tmp/nnc-apt.$$"
}

# build_targets TESTS TARGET...: Release, on all cores. TESTS is ON or OFF; a build folder that has the tests keeps them. What else CMake is to be
# told of a new folder stands in the array `cmake_options`.
cmake_options=(-DCMAKE_BUILD_TYPE=Release)
build_targets() {
  local tests=$1 log
  shift
  if [ ! -f "$build/build.ninja" ] || { [ "$tests" = ON ] && ! grep -q '^NNC_TESTS:BOOL=ON' "$build/CMakeCache.txt"; }; then
    say "Configuring in $build"
    [ -z "${NNC_CXX:-}" ] || cmake_options+=("-DCMAKE_CXX_COMPILER=$NNC_CXX")
    [ -z "${NNC_LLVM:-}" ] || cmake_options+=("-DNNC_LLVM=$NNC_LLVM")
    log=$(cmake -S "$root" -B "$build" -G Ninja "${cmake_options[@]}" -DNNC_TESTS="$tests" 2>&1) || { say "$log"; die "cmake failed"; }
  fi
  say "Building (the first time takes some minutes)"
  ninja -C "$build" --quiet "$@" >&2 || die "the build failed"
}
