"""The ``simulator`` backend: a timing model of a serving engine under real LoadGen.

For planning a system that is not there yet, and for tests without hardware. Its answers are made
up; its times are not measured anywhere.
"""
