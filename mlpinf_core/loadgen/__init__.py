"""The child process of a run, and LoadGen in it."""
