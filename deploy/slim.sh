#!/bin/sh
# Takes out of a virtual environment what only compiles, tests or debugs: some 600 MB of TensorFlow's 1.3 GB.
# The compiled Python files stay: each start would make them anew, where the file system is read-only.
set -eu
cd "$1"/lib/python*/site-packages

rm -rf tensorflow/include clang                             # headers, and a parser of C++ for them
find . -type d -name tests -prune -exec rm -rf {} +
find . -type d -path './nvidia/*/include' -prune -exec rm -rf {} +
find . -name '*.a' -delete
# Symbols for debuggers are a quarter of libtensorflow_cc. NVIDIA's libraries are as NVIDIA signed them off.
find . -path ./nvidia -prune -o -name '*.so*' -type f -exec strip --strip-unneeded {} +
