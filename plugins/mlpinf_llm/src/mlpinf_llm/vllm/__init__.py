"""vLLM's asynchronous engine, in the run's own process."""
