"""A contract double of TensorRT-LLM 1.0 to 1.2: the signatures that its sources declare."""
