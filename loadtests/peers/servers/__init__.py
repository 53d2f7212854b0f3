"""The peers: each a small server, written as its framework's documentation has it."""
