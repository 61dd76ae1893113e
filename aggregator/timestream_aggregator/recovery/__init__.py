"""The thread that completes what a killed recorder left."""
