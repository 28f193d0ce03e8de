"""TensorRT-LLM's LLM API, in the run's own process, and how its models are made."""
