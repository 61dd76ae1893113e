"""Record one stream of a G3NetworkSender to files.

Runs until SIGTERM, SIGINT or SIGHUP (which nohup turns off); what was received by then is published. Exit codes:
0 all is written; 2 a wrong option; 70 a fault of this program; 73 the data folder cannot be used; 74 the disk did
not take everything before the end, or not all lines of the ledger.
"""

import _thread
import argparse
import logging
import os
import shlex
import signal
import sys
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Final

from timestream_aggregator import logs
from timestream_aggregator.clock import SYSTEM
from timestream_aggregator.commands import options
from timestream_aggregator.commands.telling import counted
from timestream_aggregator.disk.folder import UnusableFolderError
from timestream_aggregator.recorder import VERSION, Recorder
from timestream_api.report import Report
from timestream_api.settings import RecorderSettings

FAULT: Final = 70
UNUSABLE_FOLDER: Final = 73
NOT_WRITTEN: Final = 74
LOOK_EVERY: Final = 1.0  # seconds
# Seconds from SIGTERM for the last file, by hand. In a pod another recorder mostly follows: it reads the file back, and
# the sooner it comes the fewer frames are lost.
READ_BACK: Final = 3.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class CannotStartError(Exception):
    """Recording cannot begin; the message is one line for the user."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `record`."""
    parser.epilog = (__doc__ or "").split("\n\n", 1)[1]
    options.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Record until a signal; return the exit code."""
    try:
        settings = options.from_args(vars(args), os.environ)
    except options.WrongOptionError as error:
        return _refuse(str(error), 2)
    with logs.to_standard_error(settings.log_level) as screen:
        try:
            return _record(settings, logs.for_stream(settings.stream_id), screen)
        except CannotStartError as error:
            return _refuse(str(error), error.code)


def _record(settings: RecorderSettings, log: logging.Logger, screen: logs.LogWriter) -> int:
    # First: process 1 of a container ignores signals that it does not handle.
    stop = _on_signal(threading.Event())
    try:
        recorder = Recorder(settings, log, stop)
    except (UnusableFolderError, OSError) as error:
        raise CannotStartError(f"--data-dir {error}", UNUSABLE_FOLDER) from error
    with ExitStack() as faces:
        _serve(settings, recorder, log, faces)
        _report(settings, recorder, log, faces)
        log.info("recorder started", extra={"version": VERSION, "settings": shlex.join(settings.to_args())})
        recorder.start()
        _watch(recorder, stop, screen)
        log.info("recorder stops")
        recorder.stop(read_back=0.0 if "KUBERNETES_SERVICE_HOST" in os.environ else READ_BACK)
    _hear_no_more_signals()
    log.info("recorder stopped", extra=recorder.report().totals.model_dump())
    return FAULT if recorder.failed else NOT_WRITTEN if recorder.incomplete else 0


def _on_signal(stop: threading.Event) -> threading.Event:
    """Return an event that the first of SIGNALS sets; all that follow are ignored.

    It is not set in the handler, which may have interrupted somebody who holds the event's own lock.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        _hear_no_more_signals()
        _thread.start_new_thread(stop.set, ())

    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
            signal.signal(number, handle)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else `stty tostop` stops a recorder in the background
    return stop


def _hear_no_more_signals() -> None:
    """Let no signal spoil the exit code: an interpreter that ends gives up handlers, but not what is ignored."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _serve(settings: RecorderSettings, recorder: Recorder, log: logging.Logger, faces: ExitStack) -> None:
    """Answer probes and whoever asks, until `faces` are closed."""
    if not settings.http_port:
        return
    from timestream_aggregator.reporting.server import StatusServer  # noqa: PLC0415 - memory, where it is off

    address, port = settings.http_address, settings.http_port
    server = StatusServer(address, port, recorder, settings.stream_id, log)
    server.start()
    faces.callback(server.stop)


def _report(settings: RecorderSettings, recorder: Recorder, log: logging.Logger, faces: ExitStack) -> None:
    """Report to the resource, until `faces` are closed."""
    if settings.report_to is None:
        return
    from timestream_aggregator.reporting.apiserver import ApiServer, Reporter, ReportingError  # noqa: PLC0415 - memory

    try:
        server = ApiServer.from_environment(os.environ)
    except ReportingError as error:
        raise CannotStartError(f"--report-to {settings.report_to}: {error}", 2) from error
    reporter = Reporter(server, settings.report_to, recorder.report, log)
    recorder.on_change(reporter.wake)
    reporter.start()
    faces.callback(reporter.stop)


def _watch(recorder: Recorder, stop: threading.Event, screen: logs.LogWriter) -> None:
    """Wait for the end. On a terminal, show what is going on."""
    then, before = SYSTEM.monotonic(), recorder.report()
    while not stop.wait(LOOK_EVERY):
        if screen.live:
            now, report = SYSTEM.monotonic(), recorder.report()
            screen.show(_live_line(report, (report.totals.bytes - before.totals.bytes) / (now - then)))
            then, before = now, report


def _live_line(now: Report, rate: float) -> str:
    """Return what is going on; `rate` is in bytes a second."""
    file = f"{now.current_file.path} {now.current_file.bytes / 1e6:.1f} MB" if now.current_file else "no file"
    state = now.connection.state.lower()
    lost = f", {now.totals.lost} lost" if now.totals.lost else ""
    done = f"{counted(now.totals.frames, 'frame')}, {counted(now.totals.files, 'file')}"
    return f"{state}  {rate / 1e6:6.2f} MB/s  {file}  {done}{lost}"[:120]


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"timestream-aggregator: {message}\n")
    return code
