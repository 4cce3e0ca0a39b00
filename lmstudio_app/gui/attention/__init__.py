"""The attention studio: every way to see what a model looks at, as views of one reading."""
