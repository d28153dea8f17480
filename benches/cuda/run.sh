#!/usr/bin/env bash
# Everything that is to be known of the CUDA backend on this machine: see README.md. Runs in the folder
# that pack.sh filled.
set -uo pipefail
cd "$(dirname "$0")"
mkdir -p results
device=${DEVICE:-cuda:0}
rounds=${ROUNDS:-3}

# name, floor in ms
shapes="tiny64 0.18
small3m 0.41
baby64 1.96
gpt2_1024 19.7"

say() { printf '\n== %s\n' "$*"; }
field() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p"; }
median() { sort -g | awk '{ x[NR] = $1 } END { if (NR) print x[int((NR + 1) / 2)]; else print "-" }'; }

say doctor
./minigpt doctor | tee results/doctor.txt
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv | tee results/gpu.txt

say correctness
if MINIGPT_GPU=1 ./integration cuda >results/tests.txt 2>&1; then tests=passed; else tests=FAILED; fi
tail -n 3 results/tests.txt

say sanitizer
sanitizer=absent
if command -v compute-sanitizer >/dev/null; then
    sanitizer=clean
    # Documents, whose beginnings the windows look for, in a tokenizer that knows them.
    seq 1 4000 | awk '{ print } NR % 40 == 0 { print "<|endoftext|>" }' >results/numbers.txt
    for tool in memcheck racecheck; do
        rm -rf results/run
        compute-sanitizer --tool "$tool" --error-exitcode 9 ./minigpt train --data results/numbers.txt \
            --tokenizer bpe:300 --device "$device" --steps 6 --set sample_interval=3 --set dropout=0.1 \
            --set accumulation=2 --out results/run >"results/$tool.txt" 2>&1 || sanitizer="$tool FAILED"
        tail -n 2 "results/$tool.txt"
    done
else
    echo "compute-sanitizer is not installed; it comes with the CUDA toolkit"
fi

say speed
peer=absent
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null && [ -f torch_baseline.py ]; then
    peer=there
else
    echo "no peer: PyTorch with CUDA and torch_baseline.py are needed"
fi
# PyTorch brings cuBLASLt where no other program finds it.
brought=$(python3 -c 'import nvidia.cublas.lib as lib; print(list(lib.__path__)[0])' 2>/dev/null)
[ -n "$brought" ] && export LD_LIBRARY_PATH="$brought${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
library=absent
if ./minigpt bench train --device "$device" --preset tiny64 --steps 1 --cublaslt --json >results/library.txt 2>&1; then
    library=there
else
    echo "no cuBLASLt: $(tail -n 1 results/library.txt)"
fi
rm -f results/ours-*.json results/torch-*.json results/cublaslt-*.json
while read -r name _; do
    for _ in $(seq "$rounds"); do
        ./minigpt bench train --device "$device" --preset "$name" --steps 50 --json |
            tee -a "results/ours-$name.json"
        [ "$library" = there ] && ./minigpt bench train --device "$device" --preset "$name" --steps 50 --cublaslt --json |
            tee -a "results/cublaslt-$name.json"
        [ "$peer" = there ] && python3 torch_baseline.py speed --preset "$name" --bf16 --compile --steps 50 |
            tee -a "results/torch-$name.json"
    done
done <<<"$shapes"

say kernels
if command -v nsys >/dev/null; then
    nsys profile --force-overwrite true --cuda-graph-trace=node -o results/kernels \
        ./minigpt bench train --device "$device" --preset baby64 --steps 20 >/dev/null
    nsys stats --report cuda_gpu_kern_sum results/kernels.nsys-rep | tee results/kernels.txt
else
    echo "nsys is not installed; it comes with the CUDA toolkit"
fi

say quality
quality=-
if [ -f tinyshakespeare.txt ]; then
    rm -rf results/shakespeare
    start=$(date +%s.%N)
    ./minigpt train --data tinyshakespeare.txt --tokenizer char --device "$device" --out results/shakespeare \
        --set n_layer=6 --set n_head=6 --set n_embd=384 --set n_ctx=256 --set bias=false --batch 64 \
        --steps 5000 --learning-rate 1e-3 --set dropout=0.2 >results/quality.txt 2>&1
    seconds=$(echo "$(date +%s.%N) $start" | awk '{ printf "%.1f", $1 - $2 }')
    quality="$(grep 'best validation' results/quality.txt) in $seconds s"
    echo "$quality"
else
    echo "tinyshakespeare.txt is not in this folder"
fi

say table
echo "tests $tests; sanitizer $sanitizer; quality $quality"
printf '%-10s %12s %12s %7s %9s %9s %7s %11s\n' shape ours_tok/s torch_tok/s ratio ours_ms floor_ms share cublaslt_ms
while read -r name floor; do
    ours=$(field tokens_per_second <"results/ours-$name.json" | median)
    milliseconds=$(field ms_per_step <"results/ours-$name.json" | median)
    torch=-
    [ -f "results/torch-$name.json" ] && torch=$(field tokens_per_second <"results/torch-$name.json" | median)
    other=-
    [ -f "results/cublaslt-$name.json" ] && other=$(field ms_per_step <"results/cublaslt-$name.json" | median)
    awk -v n="$name" -v o="$ours" -v t="$torch" -v m="$milliseconds" -v f="$floor" -v c="$other" 'BEGIN {
        printf "%-10s %12s %12s %7s %9s %9s %7s %11s\n", n, o, t, (t > 0 ? sprintf("%.2f", o / t) : "-"), m, f,
            (m > 0 ? sprintf("%.0f%%", 100 * f / m) : "-"), c }'
done <<<"$shapes" | tee results/table.txt
