import resource

import pytest

from penstock_agent.children.confinement.limits import SHARED_PROCESSES, Limits, size


def test_the_numbers_are_the_kernels() -> None:
    all_set = Limits(memory=1 << 30, processes=7, files=8, cpu_seconds=9, file_size=10)
    assert dict(all_set.kernel(counted_apart=True)) == {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: 1 << 30,
        resource.RLIMIT_NOFILE: 8,
        resource.RLIMIT_CPU: 9,
        resource.RLIMIT_FSIZE: 10,
        resource.RLIMIT_NPROC: 7,
    }


def test_what_is_not_limited_is_left_as_it_is() -> None:
    none = Limits(memory=None, processes=None, files=None)
    assert list(none.kernel(counted_apart=True)) == [(resource.RLIMIT_CORE, 0)]


def test_processes_that_the_kernel_counts_together_get_one_limit_that_all_fit_into() -> None:
    """64 children of npx have some 1,500 processes and threads."""
    assert dict(Limits().kernel(counted_apart=False))[resource.RLIMIT_NPROC] == SHARED_PROCESSES
    many = Limits(processes=9000)
    assert dict(many.kernel(counted_apart=False))[resource.RLIMIT_NPROC] == 9000


@pytest.mark.parametrize(
    ("text", "found"), [("1B", 1), ("3KiB", 3072), ("512MiB", 512 << 20), ("2 GiB", 2 << 30)]
)
def test_sizes(text: str, found: int) -> None:
    assert size(text) == found


@pytest.mark.parametrize(
    "text", ["", "0MiB", "2GB", "2g", "-1MiB", "1.5GiB", "9" * 40 + "B", "2GiB\n", "٢GiB"]
)
def test_what_is_no_size_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match='such as "2GiB"'):
        size(text)
