"""One module per model family: how its networks are put together to make a picture."""
