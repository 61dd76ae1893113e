from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestream_aggregator.core.naming import Base, FileId, base_for, next_number, parse, safe_stream_id
from timestream_api.values import Layout

ARRIVAL = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC).timestamp()


def test_the_timestamp_layout_names_files_by_the_arrival_of_the_first_frame() -> None:
    base = base_for(Layout.TIMESTAMP, ARRIVAL + 0.999, session_id=5, stream_id="ufm_mv19")

    assert base.path(0) == "17000/2023-11-14-22-13-20_000.g3"


def test_the_session_layout_names_files_by_session_and_stream() -> None:
    base = base_for(Layout.SESSION, ARRIVAL, session_id=1699999999, stream_id="ufm_mv19")

    assert base.path(12) == "16999/ufm_mv19/1699999999_012.g3"


@pytest.mark.parametrize("session_id", [None, -1, -(2**63)])
def test_the_arrival_stands_for_a_session_that_cannot_name_files(session_id: int | None) -> None:
    base = base_for(Layout.SESSION, ARRIVAL + 0.5, session_id, "stream")

    assert base.path(0) == "17000/stream/1700000000_000.g3"


def test_numbers_have_at_least_three_digits() -> None:
    base = Base("17000", "x")

    assert [base.path(number) for number in (7, 999, 1000)] == [
        "17000/x_007.g3",
        "17000/x_999.g3",
        "17000/x_1000.g3",
    ]


@pytest.mark.parametrize("given_id", ["ufm_mv19", "crate1slot2", "a.b-c", "_x", "x" * 63])
def test_a_safe_stream_id_stays_as_it_is(given_id: str) -> None:
    assert safe_stream_id(given_id) == given_id


@pytest.mark.parametrize(
    "given_id", [".", "..", "../../etc", "/abs", "a/b", "a\0b", "a\nb", "é", "-rf", "x" * 64, " "]
)
def test_an_unsafe_stream_id_is_changed_and_stays_apart_from_others(given_id: str) -> None:
    safe = safe_stream_id(given_id)

    assert safe != given_id
    assert safe != safe_stream_id(given_id + "x")
    assert safe_stream_id(safe) == safe


def test_an_empty_stream_id_gives_none() -> None:
    assert not safe_stream_id("")


@given(st.text(min_size=1))
def test_no_stream_id_leaves_its_folder(given_id: str) -> None:
    safe = safe_stream_id(given_id)

    assert 0 < len(safe) <= 63
    assert safe.isascii()
    assert safe.isprintable()
    assert not set(safe) & set("/\\ ")
    assert safe[0] not in ".-"


@given(
    st.sampled_from(Layout),
    st.floats(0, 2**33),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.text(min_size=1),
    st.integers(0, 10**6),
)
def test_a_name_leads_back_to_its_base_and_number(
    layout: Layout, arrival: float, session_id: int | None, stream_id: str, number: int
) -> None:
    base = base_for(layout, arrival, session_id, safe_stream_id(stream_id))

    assert parse(base.path(number)) == FileId(base, number)


@pytest.mark.parametrize(
    "path",
    [
        "x_000.g3", "17000/x_00.g3", "17000/x_000.g3.tmp", "17000/x.g3", "17000/x_\u0660\u0660\u0660.g3", "",
        "../x_000.g3", "17000/../x_000.g3", "../../x_000.g3", "/x_000.g3", "/tmp/x_000.g3", "//x_000.g3",
        "17000//x_000.g3", "a/b/c/x_000.g3", "./x_000.g3", "17000/./x_000.g3", ".hidden/x_000.g3",
        ".timestream-aggregator/x_000.g3", "17000/.x_000.g3", "17000/-x_000.g3", "17000/_000.g3",
        "17000/x\0_000.g3", "17000/x\n_000.g3", "17000/x\x1b_000.g3", "17000/x_000.g3\n", "17000/ü_000.g3",
        "17000/x\udcff_000.g3", "17000/x_0000.g3", "17000/x_0123.g3", "17000/x_" + "1" * 19 + ".g3",
        "1" * 64 + "/x_000.g3", "17000/" + "x" * 64 + "_000.g3", "17000\\x_000.g3", "17000/x y_000.g3",
    ],
)  # fmt: skip
def test_other_names_are_nobodys(path: str) -> None:
    assert parse(path) is None


@given(st.text("ab01._-/\\\0\n", max_size=12) | st.text(max_size=12))
def test_a_path_from_the_disk_leads_to_plain_names_below_its_folder_or_to_nothing(text: str) -> None:
    for path in (text, f"17000/{text}_000.g3", f"{text}/x_000.g3", f"17000/{text}/x_000.g3"):
        file = parse(path)
        if file is not None:
            parts = path.split("/")
            assert file.path == path
            assert len(parts) in {2, 3}
            assert all(part[0].isalnum() or part[0] == "_" for part in parts)
            assert path.isascii()
            assert path.isprintable()
            assert len(path) < 300


def test_numbering_goes_on_after_the_highest_of_the_same_base() -> None:
    base = Base("17000", "2023-11-14-22-13-20")
    names = [
        "2023-11-14-22-13-20_000.g3",
        "2023-11-14-22-13-20_1002.g3",
        "2023-11-14-22-13-21_5000.g3",
        "notes.txt",
    ]

    assert next_number(base, names) == 1003
    assert next_number(base, []) == 0
