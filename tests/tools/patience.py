"""How long a test waits for what is to happen, before it takes it that it never will.

Not a measure of speed: observers on a busy machine may take most of it.
"""

from typing import Final

PATIENCE: Final = 60.0  # seconds
