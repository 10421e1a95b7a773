#!/bin/sh
# Removes files for compiling, testing and debugging from a virtual environment. TensorFlow's environment has 1.3 GB;
# about 600 MB of them are removed.
# Compiled Python files stay. Otherwise, every start on a read-only file system would compile the Python files again.
set -eu
cd "$1"/lib/python*/site-packages

rm -rf tensorflow/include clang                             # C++ headers and a parser for C++
find . -type d -name tests -prune -exec rm -rf {} +
find . -type d -path './nvidia/*/include' -prune -exec rm -rf {} +
find . -name '*.a' -delete
# Debug symbols are a quarter of libtensorflow_cc. NVIDIA's libraries are not changed.
find . -path ./nvidia -prune -o -name '*.so*' -type f -exec strip --strip-unneeded {} +
