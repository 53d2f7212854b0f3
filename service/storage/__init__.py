"""Where signed pictures are kept that are answered by link instead of inline."""
