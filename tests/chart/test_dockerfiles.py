"""What both Dockerfiles must never lose: pinned contents, a numeric user, nothing fetched by address."""

import re
from itertools import takewhile

import pytest

from tests.cluster.paths import REPOSITORY

Instruction = tuple[str, str]


def instructions(name: str) -> list[Instruction]:
    text = (REPOSITORY / f"Dockerfile.{name}").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def final_stage(name: str) -> list[Instruction]:
    backwards = takewhile(lambda instruction: instruction[0] != "FROM", reversed(instructions(name)))
    return list(backwards)[::-1]


@pytest.fixture(params=["operator", "aggregator"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_user_is_a_number_that_is_not_root(name: str) -> None:
    (user,) = [value for word, value in instructions(name) if word == "USER"]

    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)


def test_nothing_is_fetched_by_address_or_by_add(name: str) -> None:
    assert not [word for word, _ in instructions(name) if word == "ADD"]
    assert not re.search(r"[a-z]+://|\bcurl\b|\bwget\b", (REPOSITORY / f"Dockerfile.{name}").read_text())


def test_the_base_image_is_an_argument_that_names_no_registry(name: str) -> None:
    assert ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm") in instructions(name)
    assert {value.split()[0] for word, value in instructions(name) if word == "FROM"} == {"${BASE_IMAGE}"}


def test_everything_from_outside_is_pinned_by_hash(name: str) -> None:
    commands = [
        command for word, value in instructions(name) if word == "RUN" for command in value.split("&&")
    ]
    installs = [command for command in commands if re.search(r"\bpip\b.* (install|wheel) ", command)]

    assert {lock for command in installs for lock in re.findall(r"-r (\S+)", command)} == {
        "requirements/build.lock",
        f"requirements/{name}.lock",
    }
    for command in installs:
        own = "--no-deps" in command and ("--no-index" in command or "--no-build-isolation" in command)
        assert "--require-hashes" in command or own, command


def test_the_final_image_holds_what_was_built_and_runs_no_command(name: str) -> None:
    stage = final_stage(name)

    assert not [word for word, _ in stage if word == "RUN"]
    assert [value for word, value in stage if word == "COPY"] == ["--from=build /opt/venv /opt/venv"]


def test_old_builders_understand_it(name: str) -> None:
    text = (REPOSITORY / f"Dockerfile.{name}").read_text()

    assert not re.search(r"^RUN --mount|<<|^# *syntax", text, re.MULTILINE)


def test_the_entry_points_are_the_programs() -> None:
    entry = {name: dict(final_stage(name))["ENTRYPOINT"] for name in ("operator", "aggregator")}

    assert entry == {
        "operator": '["python", "-m", "timestream_operator"]',
        "aggregator": '["timestream-aggregator"]',
    }


def test_the_build_context_is_closed_but_for_what_is_copied() -> None:
    opened = {
        line.removeprefix("!")
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for name in ("operator", "aggregator")
        for word, value in instructions(name)
        if word == "COPY" and "--from" not in value
        for source in value.split()[:-1]
    }

    assert opened == copied
