"""The graph node classification benchmark of MLPerf Inference, R-GAT on IGBH, for mlpinf.

Importing this package does nothing: every module imports what it needs, when it needs it.
"""
