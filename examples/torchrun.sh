#!/usr/bin/env bash
# Trains on several nodes without a scheduler. Run the same line on each, with the first one's name and its own number:
#
#   NODES=4 RANK_OF_NODE=0 MAIN_NODE=node0 examples/torchrun.sh --data.train /data/ffhq --data.val /data/celeba
#
# data.batch_size is the batch of one device; what counts images (schedule, checkpoints, learning rates) counts those of
# all devices together.
set -euo pipefail

NODES=${NODES:-1} GPUS=${GPUS:-8} RANK_OF_NODE=${RANK_OF_NODE:-0} MAIN_NODE=${MAIN_NODE:-localhost}

# To go on with a stopped run, add --ckpt_path runs/ffhq/version_0/checkpoints/last.ckpt on all nodes, which must see it.
exec torchrun --nnodes "$NODES" --node_rank "$RANK_OF_NODE" --nproc_per_node "$GPUS" \
  --master_addr "$MAIN_NODE" --master_port "${PORT:-29500}" \
  -m padinv fit --config ffhq --trainer.num_nodes "$NODES" --trainer.devices "$GPUS" "$@"
