"""The thread that writes: frames out of the buffer, through the core, into files."""
