"""Stands in for the real one, which need not be installed to be imported too early."""
