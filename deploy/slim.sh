#!/bin/sh
# Removes files for compiling, testing and debugging from a virtual environment. An environment with TensorFlow has
# 1.3 GB, of which the script removes about 600 MB.
# The script keeps compiled Python files. Otherwise, every start on a read-only file system would compile the Python files again.
set -eu
cd "$1"/lib/python*/site-packages

rm -rf tensorflow/include clang                             # C++ headers and a parser for C++
find . -type d -name tests -prune -exec rm -rf {} +
find . -type d -path './nvidia/*/include' -prune -exec rm -rf {} +
find . -name '*.a' -delete
# Debug symbols are a quarter of libtensorflow_cc. The script does not change NVIDIA's libraries. It also leaves the folders
# numpy.libs, h5py.libs and pillow.libs alone: patchelf has moved parts of these libraries, which strip would damage.
find . \( -path ./nvidia -o -name '*.libs' \) -prune -o -name '*.so*' -type f -exec strip --strip-unneeded {} +
