"""The command line: one word says what to do, and only what that needs is imported."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "record": ("record", "Record one stream of a G3NetworkSender to files"),
    "simulate": ("simulate", "Be a sender: a G3NetworkSender with a made-up stream"),
    "verify": ("verify", "Read files back, compare them with the ledger, and say what is wrong"),
    "recover": ("recover", "Publish what a killed recorder left unfinished in a data folder"),
    "account": ("account", "Tell what each stream sent, and what became of it: the night's account"),
    "acknowledge": ("acknowledge", "Say that somebody has seen to a damaged file"),
    "ls": ("listing", "List the acquisitions and files of a data folder, and what is missing"),
}

NOT_WRITTEN: Final = 74
READER_GONE: Final = 141  # as of a program that SIGPIPE ends


class CommandParser(argparse.ArgumentParser):
    """A parser that needs one line to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with exit code 2."""
        self.exit(2, f"timestream-aggregator: {message} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        """Write `message`; a failure is told as that of any other output, where the library passes over it."""
        (file or sys.stderr).write(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    _open_closed_streams()
    reconfigure: Any = getattr(
        sys.stdout, "reconfigure", None
    )  # a test may have put something else in its place
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        _drop_output()
        return READER_GONE
    except OSError as error:
        if error.filename is not None:  # it is about a file
            raise
        _drop_output()
        sys.stderr.write(f"timestream-aggregator: cannot write the output: {error.strerror}\n")
        return NOT_WRITTEN


def _open_closed_streams() -> None:
    """Let nothing that we open get the number of a standard stream that whoever started us has closed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _run(words: Sequence[str]) -> int:
    args = _parser(words[0] if words else "").parse_args(words)
    return import_module(f"timestream_aggregator.commands.{COMMANDS[args.command][0]}").run(args)


def _drop_output() -> None:
    """Let the interpreter find a place for what is still in its buffer when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Return the parser; of the commands only the chosen one is loaded."""
    parser = CommandParser("timestream-aggregator", description="Records G3 streams to files.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('timestream-aggregator')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary}.", allow_abbrev=False)
        if name == chosen:
            import_module(f"timestream_aggregator.commands.{module_name}").add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
