"""Bytes of a G3 stream in, frames out, without trusting a length."""
