"""What dlx shows in a terminal: errors, tables, plots, progress."""
