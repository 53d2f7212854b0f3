"""Who may call, how much, and who may see whose requests; for every transport."""
