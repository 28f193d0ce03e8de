"""Campaigns: many workloads from nothing to a packed submission, in steps that can be resumed.

Nothing is remembered but what is on disk: what a step has left decides whether it is done. So a
campaign may be killed at any moment, and started again.
"""
