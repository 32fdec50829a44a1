import resource

from penstock_agent.children.confinement.limits import SHARED_PROCESSES, Limits


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
