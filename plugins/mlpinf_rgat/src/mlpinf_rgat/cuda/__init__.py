"""Kernels for CUDA devices, in Triton; imported only where there is such a device."""
