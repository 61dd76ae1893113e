"""The thread that has published files read back, and the process that does it."""
