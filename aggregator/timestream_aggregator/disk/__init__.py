"""System calls, folders, and files that survive a crash."""
