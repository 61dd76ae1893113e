"""The table of faults: what is replaced by what, and who has to notice."""

import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

REPOSITORY: Final = Path(__file__).parents[2]
TABLE: Final = Path(__file__).with_name("mutants.toml")


class Mutant(BaseModel):
    """One fault. `old` has to occur exactly once in `file`, a path in the repository; `tests` are pytest's node ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    file: str
    old: str = Field(min_length=1)
    new: str
    tests: list[str] = Field(min_length=1)

    def planted(self, text: str) -> str:
        """Return `text`, that of the file, with the fault in it. ValueError: it has no such place, or several."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.name}: its old text occurs {found} times in {self.file}")
        if self.new == self.old:
            raise ValueError(f"{self.name}: it changes nothing")
        return text.replace(self.old, self.new)


_TABLE: Final = TypeAdapter(dict[str, list[Mutant]])


def mutants(table: Path = TABLE) -> list[Mutant]:
    """Return all faults of a table. ValueError: it is none, or two have one name."""
    found = [
        each for part in _TABLE.validate_python(tomllib.loads(table.read_text())).values() for each in part
    ]
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise ValueError(f"named twice: {sorted({name for name in names if names.count(name) > 1})}")
    return found
