#!/usr/bin/env bash
# The reference run: horses and zebras at 256 px by the paper's recipe, then every test picture both ways.
#   scripts/horse2zebra.sh DATA [OPTIONS OF cyclegan train]
# DATA holds trainA trainB testA testB (datasets/horse2zebra.yaml says where they come from). The run goes to
# runs/horse2zebra-reference; the same command again goes on where it stopped. It is meant for a GPU.
set -euo pipefail
case "${1:-}" in ''|-h|--help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0;; esac
source "$(dirname "${BASH_SOURCE[0]}")/environment"
data=$(cd "$1" && pwd); shift
environment ''
cd "$root"
run=runs/horse2zebra-reference
cyclegan train --data "$data" --preset paper -o "$run" "$@"
cyclegan translate "$run" "$data/testA" "$run/translated/zebras" --direction ab --overwrite
cyclegan translate "$run" "$data/testB" "$run/translated/horses" --direction ba --overwrite
