"""The machine under test: what it is, which known system it is, and how its processes are bound."""
