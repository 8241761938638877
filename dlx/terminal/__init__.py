"""Print to a terminal: errors, tables, plots, progress."""
