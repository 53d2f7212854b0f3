"""The database of what must outlive a process, and what several replicas share."""
