"""The faces of the command line, one module or folder a command."""
