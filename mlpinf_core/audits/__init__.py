"""Audits: the compliance tests that a round asks of a workload, made and judged.

An audit is one more performance run of the same workload with the same settings, in which LoadGen
does something else: it logs some of the answers (TEST01, TEST06) or issues one sample over and over
(TEST04). What comes out is held against the runs that are to be submitted.
"""
