"""What can go wrong with the cluster, in one line that a person can act on."""


class ClusterError(Exception):
    """Something about the cluster failed: what, why, and what to do."""

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        """Join the three parts to one line."""
        super().__init__(" ".join(f"{what}: {why}. {fix}.".split()))


class UnavailableError(ClusterError):
    """This machine or this user cannot run it at all; tests that need it are not run, and say so."""
