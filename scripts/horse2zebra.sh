#!/usr/bin/env bash
# The reference run: horses and zebras in, figures and a report out.
#   scripts/horse2zebra.sh DATA [--small | --full] [-o RUN] [OPTIONS OF cyclegan train]
# DATA holds trainA trainB testA testB (datasets/horse2zebra.yaml says where they come from).
#   (without)   256 pixels, 12,000 steps of the preset best: meant to end within 30 minutes on one GPU. That is an
#               estimate that no GPU has confirmed: it takes 15 TFLOP/s, a tenth of what a card of 2022 can do in bf16.
#   --small     64 pixels, narrow networks, 1,500 steps: about ten minutes on two processor cores, which is enough to
#               see every part and too little to learn it
#   --full      the paper's recipe, 200 epochs: hours on a GPU
# The run goes to RUN (runs/horse2zebra, -small, -full). The same command again goes on where it stopped.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment"

case "${1:-}" in ''|-h|--help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
[ -d "$1" ] || { echo "error: $1 is no folder; see scripts/horse2zebra.sh --help" >&2; exit 2; }
size=reference run=runs/horse2zebra options=() command="scripts/horse2zebra.sh $1" data=$(cd "$1" && pwd); shift
while [ $# -gt 0 ]; do
    case "$1" in
        --small|--full) size=${1#--} run=runs/horse2zebra-$size command+=" $1"; shift ;;
        -o|--output) named=${2:?$1 needs a folder} command+=" -o $2"; shift 2 ;;
        *) options+=("$1"); shift ;;
    esac
done
run=${named:-$root/$run}
[ "${run#/}" != "$run" ] || run=$PWD/$run

case $size in
    reference) recipe=(--preset best --steps 12000 --evaluate-every 2000) ;;
    small) recipe=(--preset best --generator resnet_6blocks --channels 16 --load-size 72 --crop-size 64
                   --steps 1500 --evaluate-every 500 --sample-every 250) ;;
    full) recipe=(--preset paper) ;;
esac

environment '[report,features]'
cd "$root"
began=$SECONDS
cyclegan train --data "$data" "${recipe[@]}" -o "$run" ${options[@]+"${options[@]}"}
cyclegan translate "$run" "$data/testA" "$run/translated/zebras" --direction ab --overwrite
cyclegan translate "$run" "$data/testB" "$run/translated/horses" --direction ba --overwrite
cyclegan evaluate "$run" --verdict --name a horses --name b zebras --longer "$command --steps {steps}"
cyclegan report "$run" > /dev/null

cat <<EOF

Done in $(( (SECONDS - began) / 60 )) min $(( (SECONDS - began) % 60 )) s, after installing. Look at
  $run/report.html    all of it on one page
  $run/translated    every test picture, as a zebra and as a horse
  $run/evaluation.json    the figures of the last and of the best generators, and how they came about
EOF
