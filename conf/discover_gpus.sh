#!/bin/sh
# Lists the GPUs of a worker in the format of spark.{worker,executor}.resource.gpu.discoveryScript:
# {"name": "gpu", "addresses": ["0", "1"]}. Prints no address where the machine has no GPU or no driver for it.
set -eu
indexes=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true)
# A process that was given some of a machine's GPUs sees only those, numbered from 0.
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ] && [ "${CUDA_VISIBLE_DEVICES}" != "NoDevFiles" ]; then
    count=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c .)
    indexes=$(seq 0 $((count - 1)))
fi
addresses=$(printf '%s' "$indexes" | tr -d ' ' | grep . | sed 's/.*/"&"/' | paste -sd ',' - || true)
printf '{"name": "gpu", "addresses": [%s]}\n' "$addresses"
