"""Faults that are planted into the recorder, one at a time, and the tests that have to notice each."""
