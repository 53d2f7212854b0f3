"""Shows a run: a table for the terminal, plots, and one HTML file with both."""
