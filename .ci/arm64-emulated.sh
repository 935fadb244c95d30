#!/bin/bash
# Runs the kernel package's tests on emulated arm64 processors, and the native
# engine's with them, on a machine of another kind: qemu runs one Linux program,
# without a kernel of its own. It takes a few minutes, nearly all of them in the
# reference model that the engine is compared with.
#
#   .ci/arm64-emulated.sh
#
# It needs the Debian package qemu-user. Without it, it skips with the reason and
# exits 0; a failed test exits 1.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
  echo "skipped: $*"
  exit 0
}

for tool in qemu-aarch64 go; do
  command -v "$tool" >/dev/null || skip "no $tool on this machine"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CGO_ENABLED=0 GOOS=linux GOARCH=arm64
go test -c -o "$work/kernel" ./runtime/native/kernel
go test -c -o "$work/native" ./runtime/native

# emulate runs a test binary in its package's folder and shows what went wrong.
emulate() {
  local model=$1 package=$2
  shift 2
  if ! (cd "$package" && qemu-aarch64 -cpu "$model" "$work/$(basename "$package")" -test.v "$@") >"$work/result" 2>&1; then
    grep -vE '^ *(=== |--- PASS)' "$work/result" | tail -50
    echo "$package failed on an emulated $model"
    exit 1
  fi
}

# kernels also checks that the best level is the one that the processor is there
# to prove.
kernels() {
  emulate "$1" runtime/native/kernel
  if ! grep -q "best first: \[$2 " "$work/result"; then
    echo "the best level on an emulated $1 is not $2: nothing was proven"
    exit 1
  fi
  echo "kernels passed on an emulated $1, level $2"
}

kernels max neondot
kernels cortex-a72 neon # no dot product: one of its instructions stops the test
emulate max runtime/native -test.short -test.timeout 30m \
  -test.run 'TestGoldens|TestThreadsChangeNoBit|TestConformance/neondot,_3_threads|TestConformance/neon,_1_thread'
echo "engine passed on an emulated arm64 in $SECONDS s"
