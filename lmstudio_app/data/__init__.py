"""Data sets: sources, columns, splits and their checks."""
