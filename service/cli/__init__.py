"""The `mintmark` command line."""
