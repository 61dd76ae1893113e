"""What one recorder needs to know: read from the command line or environment, written by the operator."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from timestream_api.rules import Checked, matching
from timestream_api.values import HOST_NAME_PATTERN, NAME_PATTERN, Layout, LogLevel, Model, Seconds, is_host

Address = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Checked(
        is_host,
        "isIP(self) || (self.matches('^[0-9a-fA-F:]+%[A-Za-z0-9._-]+$') && isIP(self.split('%')[0])) || "
        f"(self.matches('{HOST_NAME_PATTERN}') && !self.matches('^[0-9.]+$'))",
        "must be a host name or an IP address alone: no scheme, and no port",
    ),
]
StreamId = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        NAME_PATTERN,
        "must be letters, digits, dashes, dots and underscores, with a letter or digit at both ends",
    ),
]


def _named(folder: object) -> object:
    if folder == "":
        raise ValueError("a folder has to have a name; the current one is .")
    return folder


IpAddress = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
Folder = Annotated[Path, BeforeValidator(_named)]
MIB: Final = 1 << 20
LARGEST_FRAME: Final = 2048 * MIB
"""No recorder can be told to believe a larger frame: what reads files back believes frames up to here."""
ResourceRef = Annotated[str, StringConstraints(max_length=320, pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+$")]


class RecorderSettings(Model):
    """Everything one recorder needs to know. Times are seconds, sizes bytes."""

    address: Address = Field(
        default="localhost", description="Host name or IP address of the G3NetworkSender"
    )
    port: int = Field(default=50000, ge=1, le=65535, description="TCP port of the G3NetworkSender")
    time_per_file: Seconds = Field(
        default=600, ge=1, description="Longest time that one file covers: seconds (600), or like 10m, 1h30m"
    )
    data_dir: Folder = Field(default=Path("/data"), description="Folder under which the files are written")
    stream_id: StreamId = Field(
        default="stream", description="Name of the stream, where its frames do not say one"
    )
    layout: Layout = Field(
        default=Layout.TIMESTAMP,
        description="How folders and files are named: by the time of the first frame, or by the session",
    )
    frame_gap: Seconds = Field(
        default=5, gt=0, description="A pause in the recorded frames that ends an acquisition"
    )
    read_timeout: Seconds = Field(
        default=5, ge=1, description="A silence after which the file is closed and the connection replaced"
    )
    max_file_bytes: int | None = Field(
        default=None, ge=MIB, description="Largest file, such as 2Gi, if files are limited by size too"
    )
    max_frame_bytes: int = Field(
        default=256 * MIB, ge=1024, le=LARGEST_FRAME, description="Largest frame that is believed"
    )
    buffer_bytes: int = Field(
        default=256 * MIB, ge=4 * MIB, description="Memory between the network and the disk"
    )
    min_free_bytes: int = Field(
        default=1024 * MIB, ge=0, description="Free space below which the recorder warns"
    )
    max_stall: Seconds = Field(
        default=600,
        ge=1,
        description="Disk trouble after which frames are discarded and counted",
    )
    sync_interval: Seconds = Field(
        default=5, gt=0, description="Longest time between two fdatasync of a growing file"
    )
    verify: bool = Field(default=True, description="Read each published file back through spt3g")
    http_port: int = Field(
        default=8080, ge=0, le=65535, description="Port of probes, metrics and status; 0 turns them off"
    )
    http_address: IpAddress = Field(
        default="127.0.0.1", description="Where that port is: 127.0.0.1 for this host alone, :: for everybody"
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="Least severe messages that the recorder writes"
    )
    report_to: ResourceRef | None = Field(
        default=None, description="NAMESPACE/NAME of the TimestreamAggregation that gets the status report"
    )

    def to_args(self) -> list[str]:
        """Return the options that the command line reads back into equal settings.

        What was not chosen is left out, so that an older recorder is not asked for what it does not know.
        """
        values = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return [f"--{name.replace('_', '-')}={_text(value)}" for name, value in values.items()]


def _text(value: object) -> str:
    """Return `value` as an option's text: whole seconds without a fraction, true and false in lower case."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
