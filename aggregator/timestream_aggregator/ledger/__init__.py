"""What happened to the stream: the file that says so, what a start needs of it, and what people read of it."""
