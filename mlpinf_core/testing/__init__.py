"""The conformance kit for plugins."""
