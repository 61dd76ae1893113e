"""What each frame means, in files: frames and times in, actions out. Nothing waits, reads a clock or opens a file."""
