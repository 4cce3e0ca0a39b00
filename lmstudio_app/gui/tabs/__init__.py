"""The rooms of the window, one file each. Tabs never import each other."""
