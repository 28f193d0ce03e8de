"""Servers for a benchmark: planned by its plugin, started, watched and stopped here."""
