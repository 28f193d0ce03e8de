"""Text to image for mlpinf: Stable Diffusion XL, the full benchmark and a tiny one."""
