#!/usr/bin/env bash
# Everything that a GPU should prove, in one command and ten minutes. No network is needed.
#
#   benchmarks/on_gpu.sh [-o FOLDER] [--minutes M] [--train "ARGUMENTS OF edge-fiqa train"]
#   benchmarks/on_gpu.sh --rehearse            the same commands on the CPU, with small numbers
#
# Each part prints one line as it ends and leaves NAME.json and NAME.log in FOLDER (on_gpu): what is
# cut off loses nothing of the parts before. Expected there: an NVIDIA card and its driver, Python with
# torch, onnxruntime and onnx, nvcc for PyCUDA. The rest comes from benchmarks/wheels, which
# benchmarks/on_gpu_wheels.sh fills beforehand, on a machine with a network.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=on_gpu minutes=10 rehearse='' train=''
while [ $# -gt 0 ]; do
    case $1 in
        -o) folder=$2; shift ;;
        --minutes) minutes=$2; shift ;;
        --train) train=$2; shift ;;
        --rehearse) rehearse=yes ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export PYTHONPATH=$PWD
python=${PYTHON:-python3}
failed=0

left() { echo $((minutes * 60 - SECONDS)); }

# part NAME SECONDS COMMAND...: the last line that it prints is its JSON.
part() {
    local name=$1 limit=$2 began=$SECONDS status=0
    shift 2
    if [ "$limit" -gt "$(left)" ]; then limit=$(left); fi
    if [ "$limit" -lt 1 ]; then
        echo "$name: not run, the time is over"
        failed=1
        return
    fi
    timeout -k 10 "$limit" "$@" > "$folder/$name.log" 2> "$folder/$name.err" || status=$?
    if "$python" benchmarks/on_gpu_part.py "$folder" "$name" "$status"; then
        echo "$name: ok, $((SECONDS - began)) s"
    else
        echo "$name: FAILED with status $status after $((SECONDS - began)) s; see $folder/$name.err"
        failed=1
    fi
}

# Beside what this Python has, whatever environment it is of.
if [ -z "$rehearse" ] && [ -d benchmarks/wheels ]; then
    export PATH=/usr/local/cuda/bin:$PATH # PyCUDA is compiled, with nvcc
    export PYTHONPATH=$folder/site:$PWD
    pip=("$python" -m pip install --quiet --no-index --no-deps --target "$folder/site")
    part install_wheels 60 "${pip[@]}" benchmarks/wheels/*.whl
    part install_pycuda 240 "${pip[@]}" --no-build-isolation benchmarks/wheels/pycuda-*.tar.gz
fi

if [ -n "$rehearse" ]; then
    torch=(--device cpu --model tiny --rounds 1 --turn-ms 1) batches=(1 2) precisions=(fp32)
    tests=(-k 'batches_are_filled_up and stand-in') small=(--rehearse) models=(nano)
else
    torch=(--rounds 7) batches=(1 8 64) precisions=(fp16 fp32 bf16)
    tests=(-m gpu) small=() models=(nano small)
fi
part environment 30 "$python" benchmarks/gpu_environment.py
part agreement 90 "$python" benchmarks/gpu_agreement.py --model "${models[@]}" "${small[@]}"
part device 90 "$python" benchmarks/gpu_device.py "${small[@]}"
for precision in "${precisions[@]}"; do
    part "peak_$precision" 60 "$python" benchmarks/gpu_peak.py --precision "$precision" "${small[@]}"
done
part torch_tests 150 "$python" -m pytest -q -p no:cacheprovider \
    tests/engines/torch_/test_cuda_engine.py "${tests[@]}"
for precision in "${precisions[@]}"; do
    part "torch_$precision" 150 "$python" benchmarks/gpu_torch.py "${torch[@]}" \
        --precision "$precision" --batch "${batches[@]}"
done
if [ -n "$train" ]; then
    # shellcheck disable=SC2086
    part train "$(left)" "$python" -m edge_fiqa train $train
fi
exit "$failed"
