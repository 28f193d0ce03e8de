"""The layered configuration: schema, layers, resolution."""
