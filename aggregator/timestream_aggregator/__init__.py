"""The recorder: one G3 stream from TCP to rotated files on disk."""
