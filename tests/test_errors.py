import errno

import pytest

from lmstudio_app.errors import Cancelled, UserError, as_user_error, is_out_of_memory


def test_template_and_parameters_stay_apart_from_the_sentence() -> None:
    error = UserError("No file {path}.", "Choose another than {path}.", path="a.csv")
    assert (error.message, error.remedy) == ("No file a.csv.", "Choose another than a.csv.")
    assert (error.template, error.parameters) == ("No file {path}.", {"path": "a.csv"})
    assert str(error) == error.message


def test_one_line_has_no_line_breaks() -> None:
    assert UserError("Bad line:\n  {line}", "Mend\nit.", line="x").one_line() == "Bad line: x Mend it."
    assert UserError("Bad.").one_line() == "Bad."


def test_braces_in_parameters_are_left_alone() -> None:
    assert UserError("Bad value {value}.", value="{oops}").message == "Bad value {oops}."


def test_a_user_error_keeps_its_words_and_gains_a_traceback() -> None:
    with pytest.raises(UserError) as caught:
        raise UserError("Bad.", "Mend it.")
    assert as_user_error(caught.value) is caught.value
    assert "Traceback" in caught.value.details
    kept = UserError("Bad.", details="line 3")
    assert as_user_error(kept).details == "line 3"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        ImportError("libstdc++.so.6: failed to map segment from shared object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
    ],
)
def test_out_of_memory_says_what_to_lower(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert "batch size" in as_user_error(error).remedy


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), Cancelled()])
def test_other_errors_are_not_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        type("SafetensorError", (Exception,), {})("Error: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known_in_every_disguise(error: Exception) -> None:
    assert as_user_error(error).message == "The disk is full."


def test_a_path_that_cannot_be_used_is_named() -> None:
    assert as_user_error(OSError(errno.EROFS, "Read-only", "/media/x")).message == "No permission to use /media/x."
    problem = as_user_error(FileExistsError(errno.EEXIST, "File exists", "/tmp/file"))
    assert problem.message == "/tmp/file cannot be used: File exists."


def test_a_full_disk_and_a_closed_door_have_remedies() -> None:
    full = as_user_error(OSError(errno.ENOSPC, "No space left on device"))
    assert full.message == "The disk is full."
    closed = as_user_error(PermissionError(errno.EACCES, "denied", "/etc/shadow"))
    assert closed.message == "No permission to use /etc/shadow."
    assert as_user_error(PermissionError("denied")).message == "No permission to use this file."


def test_anything_else_names_its_kind_and_keeps_its_traceback() -> None:
    with pytest.raises(KeyError) as caught:
        {}["missing"]
    problem = as_user_error(caught.value)
    assert "KeyError" in problem.message
    assert "test_errors.py" in problem.details
    assert "no further text" in as_user_error(ValueError()).message
