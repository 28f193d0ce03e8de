"""Grading deepseek-r1's answers: multiple choice, numbers, mathematics, and programs.

What evaluates or executes anything that a model has written does so in a child process: see
:mod:`mlpinf_llm.grading.sandbox`.
"""
