#!/usr/bin/env bash
# Installs edge_fiqa on a Jetson (JetPack 6.1 or later, 7), against the TensorRT of JetPack.
#   sudo engines/jetson/install.sh [--service] [--prefix DIR] [--wheel FILE] [--dry-run]
# It looks first and changes nothing until everything that it needs is there. Run it again at will.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
root=${EDGE_FIQA_ROOT:-} # where /etc, /proc, /usr/local are looked up; empty but for tests
# The system's own Python and no other: JetPack's tensorrt is built for it.
python=${EDGE_FIQA_PYTHON:-$root/usr/bin/python3}
prefix=$root/opt/edge-fiqa
wheel=
service=false
dry=false

usage() {
    cat << 'END'
usage: install.sh [--service] [--prefix DIR] [--wheel FILE] [--dry-run]
  --service     install the gateway's systemd unit as well (it is not started)
  --prefix DIR  where the virtual environment goes (/opt/edge-fiqa)
  --wheel FILE  install this wheel instead of the checkout around this script
  --dry-run     look, and print what would be done
END
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
# Prints a command, and runs it unless only looking.
run() {
    printf '+ %s\n' "$*"
    $dry || "$@"
}

while [ $# -gt 0 ]; do
    case $1 in
        --service) service=true ;;
        --dry-run) dry=true ;;
        --prefix | --wheel)
            [ $# -ge 2 ] || fail "$1 needs a value"
            if [ "$1" = --prefix ]; then prefix=$2; else wheel=$2; fi
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            fail "unknown option $1"
            ;;
    esac
    shift
done
[ -z "$wheel" ] || [ -f "$wheel" ] || fail "$wheel does not exist"
case $prefix in /*) ;; *) fail "--prefix must be absolute, got $prefix" ;; esac
if $service && [ "$prefix" != "$root/opt/edge-fiqa" ]; then
    fail "--service and --prefix exclude each other: the unit starts /opt/edge-fiqa/bin/edge-fiqa"
fi

# ---- which JetPack

release=$root/etc/nv_tegra_release
[ -r "$release" ] || fail "$release does not exist: this is not a Jetson. On a server: pip install 'edge-fiqa[trt,gateway]'"
pattern='R([0-9]+) \(release\), REVISION: ([0-9]+)\.?([0-9.]*)'
[[ $(head -n 1 "$release") =~ $pattern ]] || fail "$release does not say which release it is: $(head -n 1 "$release")"
major=${BASH_REMATCH[1]} revision=${BASH_REMATCH[2]}
l4t=$major.$revision${BASH_REMATCH[3]:+.${BASH_REMATCH[3]}}
if [ "$major" -lt 36 ] || { [ "$major" = 36 ] && [ "$revision" -lt 4 ]; }; then
    fail "Jetson Linux $l4t has a TensorRT older than 10.3; flash JetPack 6.2 or later"
fi
case $major in
    36) jetpack=6 toolkit=cuda-toolkit-12-6 ;;
    38) jetpack=7 toolkit=cuda-toolkit-13-0 ;;
    39) jetpack=7 toolkit=cuda-toolkit-13-2 ;;
    *)
        jetpack='newer than 7' toolkit=cuda-toolkit
        say "warning: Jetson Linux $l4t is newer than this script; it goes on as on JetPack 7"
        ;;
esac
say "Jetson Linux $l4t (JetPack $jetpack)"

# ---- what has to be there. Packages that are missing are collected: one apt command for all.

missing=()
reasons=()
lack() {
    missing+=("$1")
    reasons+=("$2")
}

[ -x "$python" ] || fail "$python does not exist: run sudo apt-get install -y python3 python3-venv python3-dev"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$("$python" -c 'import sys; print(int(sys.version_info >= (3, 10)))')" = 1 ] \
    || fail "$python is Python $version; 3.10 or later is needed"
say "Python $version ($python)"
"$python" -c 'import ensurepip, venv' 2> /dev/null || lack python3-venv "python3 cannot make virtual environments"
"$python" -c 'import os, sysconfig; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2> /dev/null \
    || lack python3-dev "Python.h is missing, PyCUDA is compiled"
command -v g++ > /dev/null || lack g++ "there is no C++ compiler, PyCUDA is compiled"

cuda=
if command -v nvcc > /dev/null; then
    cuda=$(cd "$(dirname "$(readlink -f "$(command -v nvcc)")")/.." && pwd)
elif [ -x "$root/usr/local/cuda/bin/nvcc" ]; then # JetPack does not put it on PATH
    cuda=$root/usr/local/cuda
fi
if [ -n "$cuda" ]; then
    say "CUDA $("$cuda/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p') ($cuda)"
else
    lack "$toolkit" "nvcc is neither on PATH nor in /usr/local/cuda/bin"
fi

if tensorrt=$("$python" -c 'import tensorrt; print(tensorrt.__version__)' 2>&1); then
    tensorrt=$(tail -n 1 <<< "$tensorrt")
    say "TensorRT $tensorrt"
    case $tensorrt in
        [0-9].* | 10.[0-2].*) fail "TensorRT $tensorrt is older than 10.3; flash JetPack 6.2 or later" ;;
    esac
else
    library=$(dpkg-query -W -f='${Version}' libnvinfer10 2> /dev/null || true)
    lack python3-libnvinfer "$python cannot import tensorrt (libnvinfer10 ${library:-is not installed}): $(tail -n 1 <<< "$tensorrt")"
    # Neither CUDA nor TensorRT: flashed without JetPack's components, so install those.
    [ -n "$library$cuda" ] || missing=(nvidia-jetpack python3-libnvinfer python3-venv python3-dev g++)
fi

if [ ${#missing[@]} -gt 0 ]; then
    for reason in "${reasons[@]}"; do printf 'install.sh: %s\n' "$reason" >&2; done
    fail "run: sudo apt-get update && sudo apt-get install -y ${missing[*]}"
fi

# ---- what only makes things harder

kib() { sed -n "s/^$1: *\([0-9]*\) kB/\1/p" "$root/proc/meminfo" 2> /dev/null || true; }
if [ "$(($(kib MemAvailable) + $(kib SwapFree)))" -lt 3000000 ] && [ -r "$root/proc/meminfo" ]; then
    say "warning: less than 3 GB of memory and swap are free; compiling PyCUDA takes 1.2 GB, building plans more."
    say "         sudo fallocate -l 8G /swap && sudo chmod 600 /swap && sudo mkswap /swap && sudo swapon /swap"
fi
if [ -s "$root/sys/devices/system/cpu/offline" ] && read -r cores_off < "$root/sys/devices/system/cpu/offline" \
    && [ -n "$cores_off" ]; then
    say "warning: cores $cores_off are switched off by this power mode; ONNX Runtime, which builds bundles, may crash:"
    say "         build in a mode with all cores (sudo nvpmodel -p --verbose), then come back to this one"
fi
user=${SUDO_USER:-$(id -un)}
if [ "$user" != root ]; then
    for group in video render; do
        grep -q "^$group:" "$root/etc/group" 2> /dev/null || continue
        case " $(id -nG "$user") " in
            *" $group "*) ;;
            *) say "warning: $user may not use the GPU: sudo usermod -aG $group $user, then log in again" ;;
        esac
    done
fi

parent=$prefix
while [ ! -e "$parent" ]; do parent=$(dirname "$parent"); done
$dry || [ -w "$parent" ] || fail "$prefix cannot be written: run this with sudo, or choose --prefix DIR"
if $service && ! $dry && [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    fail "--service writes to /etc/systemd/system: run this with sudo"
fi

# ---- the environment: the system's packages are seen, tensorrt among them

if ! grep -qs 'include-system-site-packages = true' "$prefix/pyvenv.cfg"; then
    [ ! -e "$prefix/pyvenv.cfg" ] || fail "$prefix is an environment that hides the system's packages: delete it, or choose --prefix"
    run "$python" -m venv --system-site-packages "$prefix"
fi

if "$prefix/bin/python" -c 'import pycuda.driver' 2> /dev/null; then
    say "PyCUDA is there"
else
    say "PyCUDA is compiled: minutes"
    home=$(mktemp -d)
    trap 'rm -rf "$home"' EXIT
    cp "$here/aksetup-defaults.py" "$home/.aksetup-defaults.py" # cuRAND off, where libcuda.so is
    run env HOME="$home" PATH="$cuda/bin:$PATH" CUDA_ROOT="$cuda" \
        "$prefix/bin/pip" install --disable-pip-version-check --no-cache-dir 'pycuda>=2024.1' \
        || fail "PyCUDA does not compile; the first 'error:' above says why (docs/jetson.md, step 3)"
fi

run "$prefix/bin/pip" install --disable-pip-version-check --no-cache-dir "${wheel:-$repository}[build,gateway]" \
    || fail "edge_fiqa could not be installed, see above"

if ! $dry; then
    "$prefix/bin/python" -c 'import edge_fiqa, pycuda.driver, tensorrt' \
        || fail "installed, and yet it does not import: see above (docs/jetson.md, step 3)"
fi

if $service; then
    units=$root/etc/systemd/system
    run install -D -m 0644 "$repository/deploy/edge-fiqa-gateway.service" "$units/edge-fiqa-gateway.service"
    run install -D -m 0644 "$here/edge-fiqa-gateway.service.d/jetson.conf" \
        "$units/edge-fiqa-gateway.service.d/jetson.conf"
    run systemctl daemon-reload
    say "start it: sudo systemctl enable --now edge-fiqa-gateway, once /etc/edge-fiqa/gateway.yaml is there"
fi
if $dry; then say "nothing was changed"; else say "done; next: $prefix/bin/edge-fiqa doctor --device"; fi
