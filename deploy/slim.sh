#!/bin/sh
# Removes files for compiling, testing and debugging from a virtual environment: about 600 MB of TensorFlow's 1.3 GB.
# Compiled Python files stay: on a read-only file system, every start would compile them again.
set -eu
cd "$1"/lib/python*/site-packages

rm -rf tensorflow/include clang                             # C++ headers and their parser
find . -type d -name tests -prune -exec rm -rf {} +
find . -type d -path './nvidia/*/include' -prune -exec rm -rf {} +
find . -name '*.a' -delete
# Debug symbols are a quarter of libtensorflow_cc. NVIDIA's libraries stay as NVIDIA released them.
find . -path ./nvidia -prune -o -name '*.so*' -type f -exec strip --strip-unneeded {} +
