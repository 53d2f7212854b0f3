"""What turns a Bento into an image: the Dockerfile's template and the programs it uses."""
