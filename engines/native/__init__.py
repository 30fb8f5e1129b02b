"""Kernels of our own, C++ for CPUs and CUDA, with all that calls them. Nothing needs them: every caller has PyTorch."""
