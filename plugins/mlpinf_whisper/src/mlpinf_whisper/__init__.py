"""The speech recognition benchmark of MLPerf Inference as a plugin of mlpinf.

Importing this package does nothing: every module imports what it needs, when it needs it.
"""
