"""A desktop workbench where one person can see a language model learn."""

__version__ = "0.1.0"
