"""TensorRT engines for every plugin: built from ONNX, kept by content, run on CUDA.

Read in this order: ``flavour`` (which TensorRT there is), ``spec`` (what an engine is built with),
``build``, ``quantise`` (8-bit graphs), ``store`` (engines as artifacts, and why one is refused),
``memory`` and ``run``.
"""
