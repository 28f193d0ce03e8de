"""mlpinf: a plugin framework for MLPerf Inference."""
