"""How Mintmark is deployed; Python here only checks the files beside it."""
