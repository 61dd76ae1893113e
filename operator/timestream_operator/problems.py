"""Why a recorder's pod does not run, in words a person can act on. Pure."""

from dataclasses import dataclass
from typing import Final

from timestream_operator.objects import Manifest, dig, is_going


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason in one word for programs, and a message for people."""

    reason: str
    message: str
    lasting: bool = False  # nothing heals it but a person


# Why a container waits -> what to do about it. Kubernetes' own word is the reason.
WAITING: Final = {
    "ImagePullBackOff": "Check spec.image and spec.imagePullSecrets, or that the node reaches the registry",
    "ErrImagePull": "Check spec.image and spec.imagePullSecrets, or that the node reaches the registry",
    "ErrImageNeverPull": "Load the image into the node, or change spec.imagePullPolicy",
    "InvalidImageName": "Correct spec.image",
    "CreateContainerConfigError": "Check the Secrets and ConfigMaps that spec.env names",
    "CreateContainerError": "See `kubectl describe pod`",
    "RunContainerError": "See `kubectl describe pod`",
    "CrashLoopBackOff": "See `kubectl logs --previous`",
}
LONGEST_LINE: Final = 300
STARTING: Final = Problem("Starting", "The recorder's pod is starting")  # whether it is there yet or not
LASTING: Final = frozenset({"CrashLoopBackOff", "InvalidImageName"})
# What the admission or a controller says -> the reason. The first that fits counts.
REFUSALS: Final = (
    ("exceeded quota", "QuotaExceeded"),
    ("PodSecurity", "PodSecurity"),
    ("forbidden", "Forbidden"),
    ("mount volume", "VolumeNotMounted"),
    ("MountVolume", "VolumeNotMounted"),
    ("AttachVolume", "VolumeNotMounted"),
)


def of_pod(pod: Manifest | None, warning: str) -> Problem | None:
    """Return what keeps the pod from being ready, None when it is.

    `warning` is the newest about it, or about its StatefulSet where there is no pod; it may be empty.
    """
    if pod is None:
        return _of_warning(warning) or STARTING
    name = pod["metadata"]["name"]
    if is_going(pod):
        return Problem("Stopping", f"Pod {name} is stopping: it publishes its file first")
    if _condition(pod, "Ready").get("status") == "True":
        return None
    return (
        _of_scheduling(pod)
        or _of_container(pod)
        or _of_warning(warning)
        or _of_ending(pod)
        or _of_readiness(pod)
        or STARTING
    )


def is_explained(pod: Manifest | None) -> bool:
    """Return whether the pod itself says why it does not run, so that nobody need look for events."""
    if pod is None:
        return False
    is_ready = _condition(pod, "Ready").get("status") == "True"
    return is_ready or is_going(pod) or bool(_of_scheduling(pod) or _of_container(pod))


def running_since(pod: Manifest | None) -> str:
    """Return when the recorder's container started, empty when it does not run."""
    return str(dig(_container(pod), "state", "running", "startedAt", default="")) if pod else ""


def of_refusal(message: str) -> str:
    """Return the reason for a refusal by what the API server says."""
    return next((reason for words, reason in REFUSALS if words.lower() in message.lower()), "Refused")


def _of_warning(warning: str) -> Problem | None:
    if not warning:
        return None
    reason = of_refusal(warning)
    fix = "Raise the quota, or lower spec.resources" if reason == "QuotaExceeded" else ""
    return Problem("PodRefused" if reason == "Refused" else reason, sentences(warning, fix))


def _of_scheduling(pod: Manifest) -> Problem | None:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    reason = str(scheduled.get("reason") or "Unschedulable")
    said = scheduled.get("message") or "no reason is given"
    return Problem(reason, sentences(f"No node takes the pod: {said}"))


def _of_container(pod: Manifest) -> Problem | None:
    status = _container(pod)
    reason = str(dig(status, "state", "waiting", "reason", default=""))
    if reason not in WAITING:
        return None
    said = str(dig(status, "state", "waiting", "message", default=""))
    ended = _ending(dig(status, "lastState", "terminated"))
    return Problem(reason, sentences(ended or said or reason, WAITING[reason]), lasting=reason in LASTING)


def _of_readiness(pod: Manifest) -> Problem | None:
    if not _container(pod).get("started"):
        return None
    return Problem("NotReady", "The recorder runs and cannot write. See `kubectl logs`")


def _of_ending(pod: Manifest) -> Problem | None:
    status = _container(pod)
    ended = _ending(dig(status, "state", "terminated") or dig(status, "lastState", "terminated"))
    return Problem("Restarting", sentences(ended, "It starts again")) if ended else None


def _ending(terminated: Manifest | None) -> str:
    if not terminated:
        return ""
    said = str(terminated.get("message") or "").strip().splitlines()
    why = said[-1][:LONGEST_LINE] if said else terminated.get("reason") or "no reason is given"
    return f"The recorder ended with exit code {terminated.get('exitCode')}: {why}"


def _container(pod: Manifest | None) -> Manifest:
    statuses: list[Manifest] = dig(pod, "status", "containerStatuses", default=[])
    return statuses[0] if statuses else {}


def _condition(pod: Manifest, kind: str) -> Manifest:
    conditions: list[Manifest] = dig(pod, "status", "conditions", default=[])
    found = [condition for condition in conditions if condition.get("type") == kind]
    return found[0] if found else {}


def sentences(*parts: str) -> str:
    """Return the parts that say something as sentences."""
    return " ".join(f"{part.strip().rstrip('.')}." for part in parts if part.strip())
