"""What is true of a stream: the six conditions and the phase, from what was seen. Pure.

Messages hold nothing that changes while all goes well: a steady stream costs no write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from timestream_api.report import ConnectionState, LastLoss, LastPutAside, LossCause, Report
from timestream_api.resource import Condition, ConditionStatus, ConditionType, Phase, Spec
from timestream_operator.objects import Manifest, dig, is_going
from timestream_operator.problems import Problem, of_pod, running_since, sentences

REPORT_LASTS: Final = timedelta(minutes=3)
LONGEST_MESSAGE: Final = 4096
LONGEST_REASON: Final = 128
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of one resource and its objects at the time `now`."""

    now: datetime
    spec: Spec
    claim_name: str
    claim: Manifest | None
    pod: Manifest | None
    report: Report | None
    trouble: Problem | None = None  # what keeps the children from being as asked
    pod_warning: str = ""
    claim_warning: str = ""
    started: datetime | None = None  # since when the recorder should be running, while it does not


@dataclass(frozen=True, slots=True)
class Finding:
    """What holds for one condition."""

    status: ConditionStatus
    reason: str
    message: str


Findings = Mapping[ConditionType, Finding]
_NO_REPORT: Final = Finding(UNKNOWN, "NoReport", "The recorder has not reported yet.")
_SUSPENDED: Final = Finding(FALSE, "Suspended", "spec.suspend is true.")


def findings(facts: Facts) -> Findings:
    """Return what holds for every condition."""
    ready, connected = ready_of(facts), connected_of(facts)
    return {
        ConditionType.RECONCILED: reconciled_of(facts.trouble),
        ConditionType.READY: ready,
        ConditionType.CONNECTED: connected,
        ConditionType.RECORDING: recording_of(facts, connected),
        ConditionType.STORAGE_READY: storage_of(facts),
        ConditionType.DATA_INTACT: intact_of(facts.report),
    }


def findings_of_bad_spec(why: str) -> Findings:
    """Return the conditions of a resource whose spec this operator does not understand."""
    unknown = Finding(UNKNOWN, "InvalidSpec", "The spec is not understood.")
    bad = Finding(FALSE, "InvalidSpec", sentences(why, "Correct the spec"))
    return {**dict.fromkeys(ConditionType, unknown), ConditionType.RECONCILED: bad}


def reconciled_of(trouble: Problem | None) -> Finding:
    """Return whether the children are as asked."""
    if trouble:
        return Finding(FALSE, trouble.reason, sentences(trouble.message))
    return Finding(TRUE, "AsAsked", "All objects are as the spec asks.")


def ready_of(facts: Facts) -> Finding:
    """Return whether the recorder's pod runs and can write."""
    if facts.spec.suspend and facts.pod is None:
        return _SUSPENDED
    problem = of_pod(facts.pod, facts.pod_warning)
    if problem:
        return Finding(FALSE, problem.reason, sentences(problem.message))
    return Finding(TRUE, "PodReady", "The recorder runs and can write.")


def connected_of(facts: Facts) -> Finding:
    """Return whether the recorder is connected to its sender."""
    unheard = _unheard(facts)
    if unheard or not facts.report:
        return unheard or _NO_REPORT
    connection = facts.report.connection
    match connection.state:
        case ConnectionState.CONNECTED:
            return Finding(TRUE, "Connected", f"Connected to {connection.endpoint}.")
        case ConnectionState.CONNECTING:
            why = f"No connection to {connection.endpoint}: {connection.last_error or 'not answered yet'}"
            return Finding(FALSE, "NotConnected", sentences(why, "The recorder keeps trying"))
        case ConnectionState.STOPPED:
            return Finding(FALSE, "Stopped", "The recorder has stopped.")


def recording_of(facts: Facts, connected: Finding) -> Finding:
    """Return whether frames are being recorded."""
    if connected.status is not TRUE or not facts.report:
        return connected
    if facts.report.acquisition:
        return Finding(TRUE, "Recording", "Frames are being recorded.")
    return Finding(FALSE, "NoFrames", "Connected, and no frames to record arrive.")


def storage_of(facts: Facts) -> Finding:
    """Return whether the claim is bound and the disk takes what comes."""
    trouble = _claim_trouble(facts) or (None if _unheard(facts) else _disk_trouble(facts))
    if trouble:
        return Finding(FALSE, trouble.reason, sentences(trouble.message))
    return Finding(TRUE, "Bound", f"PersistentVolumeClaim {facts.claim_name} is bound.")


def intact_of(report: Report | None) -> Finding:
    """Return whether all files hold what was received, and the current acquisition all that its sender counted.

    What earlier acquisitions lost stays in the report's totals.
    """
    if report is None:
        return _NO_REPORT
    if report.totals.bad_files:
        which = f"{report.totals.bad_files} of the files, the last one {report.last_bad_file},"
        fix = "Keep it, check the disk, run `timestream-aggregator verify`, and then `acknowledge`"
        return Finding(FALSE, "FileDamaged", sentences(f"{which} cannot be read as it was received", fix))
    acquisition, loss = report.acquisition, report.last_loss
    is_recent = bool(loss and acquisition and loss.time >= acquisition.started)
    if acquisition and (acquisition.lost or is_recent):
        lacks = f"The current acquisition lacks {_frames(acquisition.lost)} that its sender counted"
        what = lacks if acquisition.lost else "The disk did not keep frames of the current acquisition"
        return Finding(FALSE, "FramesLost", sentences(what, _last_loss(loss)))
    if report.last_put_aside and report.last_put_aside.time >= _beginning(report):
        return Finding(FALSE, "FramePutAside", _put_aside(report.last_put_aside))
    return Finding(TRUE, "NothingLost", "The current acquisition lacks no frame.")


def _beginning(report: Report) -> datetime:
    """Return when the current acquisition began, or the connection, which brings what its sender replays."""
    since = report.connection.since
    return min(since, report.acquisition.started) if report.acquisition else since


def _put_aside(piece: LastPutAside) -> str:
    what = f"{piece.bytes} bytes that the sender gave are in no file"
    kept = "Their beginning is in .timestream-aggregator/quarantine, the ledger tells of all such"
    fix = "Correct the sender and restart it: it may give the same to each new connection"
    return sentences(f"{what}: {piece.why}", kept, fix)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _last_loss(loss: LastLoss | None) -> str:
    if loss is None:
        return ""
    numbers = (
        "" if loss.first is None else f", frame_num {loss.first} to {loss.last} of session {loss.session}"
    )
    return f"The last loss was {_frames(loss.count)}{numbers}: {_CAUSES[loss.cause]}. The ledger has all"


_CAUSES: Final[Mapping[LossCause, str]] = {
    LossCause.LATE_JOIN: "sent before the recorder joined the session",
    LossCause.RESTART: "sent while no recorder ran",
    LossCause.RECONNECT: "sent while there was no connection",
    LossCause.SENDER: "skipped or dropped by the sender, whose queue was full",
    LossCause.DAMAGED: "they came damaged or odd and are in quarantine",
    LossCause.DISK: "the disk did not take or keep them",
}


def phase_of(found: Findings, facts: Facts) -> tuple[Phase, str]:
    """Return the phase and the reason of the condition that decides it: the first row that holds."""
    types = ConditionType
    ready, storage, intact = found[types.READY], found[types.STORAGE_READY], found[types.DATA_INTACT]
    connected, recording = found[types.CONNECTED], found[types.RECORDING]
    is_up, suspended = ready.status is TRUE, facts.spec.suspend
    problem = None if suspended else of_pod(facts.pod, facts.pod_warning)
    table: Sequence[tuple[bool, Phase, str]] = (
        (not is_up and _lasts(facts.trouble), Phase.FAILED, found[types.RECONCILED].reason),
        (suspended, Phase.SUSPENDED, "Suspended"),
        (not is_up and _lasts(problem), Phase.FAILED, ready.reason),
        (not is_up and storage.status is not TRUE, Phase.PENDING, storage.reason),
        (not is_up, Phase.PENDING, ready.reason),
        (storage.status is not TRUE, Phase.DEGRADED, storage.reason),
        (connected.reason == "ReportStale", Phase.DEGRADED, connected.reason),
        (intact.reason == "FileDamaged", Phase.DEGRADED, intact.reason),
        (recording.status is TRUE, Phase.RECORDING, recording.reason),
        (connected.status is TRUE, Phase.IDLE, recording.reason),
    )
    decided = next(((phase, reason) for holds, phase, reason in table if holds), None)
    return decided or (Phase.WAITING, connected.reason)


def _lasts(problem: Problem | None) -> bool:
    return problem is not None and problem.lasting


def with_times(
    old: Sequence[Condition], found: Findings, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return all conditions. The transition time moves only with the status: it tells how long that is so."""
    known = {condition.type: condition for condition in old}
    return tuple(_condition(kind, known.get(kind), found[kind], generation, now) for kind in ConditionType)


def _condition(
    kind: ConditionType, old: Condition | None, finding: Finding, generation: int, now: datetime
) -> Condition:
    since = old.last_transition_time if old and old.status is finding.status else now.replace(microsecond=0)
    return Condition(
        type=kind,
        status=finding.status,
        observed_generation=generation,
        last_transition_time=since,
        reason=finding.reason[:LONGEST_REASON],
        message=finding.message[:LONGEST_MESSAGE],
    )


def report_ends(report: Report) -> datetime:
    """Return until when a report counts."""
    return report.time + REPORT_LASTS


def _unheard(facts: Facts) -> Finding | None:
    """Return why the report says nothing about the connection now, None when it does."""
    if facts.spec.suspend:
        return _SUSPENDED
    started = running_since(facts.pod)
    if not started:
        return Finding(FALSE, "NotRunning", "The recorder does not run.")
    report = facts.report
    if not facts.spec.status_reporting:
        return Finding(UNKNOWN, "ReportingOff", "spec.statusReporting is false.")
    if report is None or report.time < datetime.fromisoformat(started):
        return _NO_REPORT
    if not abs(facts.now - report.time) <= REPORT_LASTS:
        return Finding(UNKNOWN, "ReportStale", _stale(report, facts.now))
    return None


def _stale(report: Report, now: datetime) -> str:
    when = report.time.isoformat(timespec="seconds")
    if report.time > now:
        return f"The recorder's last report is of {when}, which is to come. Compare the clocks of the nodes."
    fix = "Check `kubectl logs`, and that the node reaches the API server."
    return f"The recorder's last report is of {when}. {fix}"


def _claim_trouble(facts: Facts) -> Problem | None:
    name, claim = f"PersistentVolumeClaim {facts.claim_name}", facts.claim
    if claim is None:
        if facts.spec.storage.claim_name:
            return Problem("ClaimMissing", f"{name} does not exist in this namespace. Create it")
        return Problem("ClaimPending", f"{name} is being made")
    if is_going(claim):
        return Problem("ClaimDeleting", f"{name} is being deleted: its files go when the pod stops")
    match dig(claim, "status", "phase", default="Pending"):
        case "Bound":
            return None
        case "Lost":
            return Problem("ClaimLost", f"The volume of {name} is gone. Restore it, or make another claim")
        case _:
            reason = "ClaimNotBound" if facts.claim_warning else "ClaimPending"
            return Problem(reason, sentences(f"{name} has no volume yet", facts.claim_warning))


def _disk_trouble(facts: Facts) -> Problem | None:
    if facts.report is None:
        return None
    storage = facts.report.storage
    if storage and (storage.trouble or not storage.writable):
        return Problem("DiskTrouble", f"The disk takes nothing: {storage.trouble or 'the last write failed'}")
    ledger = facts.report.ledger
    if ledger.trouble or ledger.dropped:
        what = f"The ledger cannot be written, {ledger.dropped} of its lines are lost: {ledger.trouble or 'no room'}"
        return Problem(
            "LedgerTrouble", f"{what}. Frames are recorded; give the recorder write access to its folder"
        )
    if facts.report.buffer.stalled:
        return Problem("Stalled", "The disk does not keep up: the buffer is full and the sender is held back")
    if storage and storage.free_bytes < facts.spec.min_free_bytes:
        least = facts.spec.min_free_bytes / (1 << 30)
        return Problem("LowSpace", f"Less than {least:.3g} GiB (spec.minFreeBytes) are free")
    return None
