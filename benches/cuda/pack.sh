#!/usr/bin/env bash
# Builds what a GPU machine is to run and copies it, with run.sh, into the folder that is named.
set -euo pipefail
to=$(mkdir -p "${1:?usage: pack.sh FOLDER}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."

cargo build --release -p minigpt
tests=$(cargo test --release -p minigpt-tests --test integration --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*integration-[^"]*\)".*/\1/p' | tail -n 1)
cp target/release/minigpt benches/cuda/run.sh "$to"
cp "$tests" "$to/integration"
echo "packed into $to"
