"""The rounds of MLPerf Inference as data."""
