"""How a database comes to have the tables of schema.py, one revision after the other."""
