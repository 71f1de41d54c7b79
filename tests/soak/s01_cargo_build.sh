#!/usr/bin/env bash
# A tiny crate, built again and again as a person edits it.
. "$(dirname "$0")/../zoo/programs/zoo.sh"
cd "$ZOO_DIR" || exit 1
unset CARGO_TARGET_DIR RUSTFLAGS
cargo new --quiet --vcs none tiny && cd tiny || exit 1
mark
for n in $(seq 1000000); do
  echo "fn main() { let v: Vec<u64> = (0..$n).map(|x| x * x).collect(); println!(\"{}\", v.iter().sum::<u64>()); }" > src/main.rs
  cargo build --offline --quiet || exit 1
  sleep 1
done
