#!/bin/sh
# Tells Spark which GPUs a worker has, as spark.{worker,executor}.resource.gpu.discoveryScript wants it:
# {"name": "gpu", "addresses": ["0", "1"]}. Prints no address where there is no GPU or no driver for it.
set -eu
indexes=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true)
# Whoever was given some of the GPUs of a machine sees these alone, numbered from 0.
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ] && [ "${CUDA_VISIBLE_DEVICES}" != "NoDevFiles" ]; then
    count=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c .)
    indexes=$(seq 0 $((count - 1)))
fi
addresses=$(printf '%s' "$indexes" | tr -d ' ' | grep . | sed 's/.*/"&"/' | paste -sd ',' - || true)
printf '{"name": "gpu", "addresses": [%s]}\n' "$addresses"
