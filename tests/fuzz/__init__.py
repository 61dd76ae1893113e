"""Damaged streams for the parser: a corpus, what damages it further, and what has to hold."""
