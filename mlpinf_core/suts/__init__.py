"""Building blocks for systems under test."""
