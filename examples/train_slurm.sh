#!/bin/bash
# Train on two nodes of eight GPUs each:
#
#     sbatch examples/train_slurm.sh
#
# Before its time is up, or when it is to make room, the job is told to stop. It saves, goes back into the
# queue and resumes there. Adapt the cores (8 a GPU here), the time and the environment; /data and /runs must
# be seen by all nodes.
#SBATCH --job-name=imf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -eu

source "${REENACT_VENV:-.venv}/bin/activate" # what `pip install -e .[train]` was done in

export OMP_NUM_THREADS=1                      # loaders are processes of their own
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun doesn't take sbatch's
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=100     # seconds to save in; torchrun's own 30 can be too short

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
stopped=

srun --kill-on-bad-exit=1 torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node 8 --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$first:29500" --rdzv-id "$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" \
  -m trainer.train imf --config paper --data /data/vfhq-shards --output /runs/imf --resume auto &
step=$!
trap 'stopped=yes; kill -TERM "$step" || true' TERM # Slurm tells this script; srun tells all ranks

code=0
wait "$step" || code=$? # the trap ends this waiting, too
if [ -n "$stopped" ]; then
  wait "$step" || true # until all have saved: torchrun fails when it is told to stop
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
