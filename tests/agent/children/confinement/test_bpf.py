"""The filter, run by an emulator of the machine that the kernel runs it on."""

import struct
from errno import EACCES, ENOSYS, EPERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.children.confinement import bpf
from penstock_agent.children.confinement.bpf import ALLOW, ERRNO, KILL, MACHINES, Machine, program

AF_INET, AF_INET6, AF_PACKET, AF_VSOCK, AF_ALG = 2, 10, 17, 40, 38
I386, ARM = 0x40000003, 0x40000028
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=list(MACHINES))


def run(code: bytes, number: int, *arguments: int, audit: int) -> int:
    """What the filter answers to a system call. Fails where the kernel would refuse the program."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    steps = list(struct.iter_unpack("<HBBI", code))
    accumulator = at = 0
    while True:
        operation, yes, no, value = steps[at]
        at += 1
        match operation:
            case 0x20:
                assert value % 4 == 0
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                at += yes if accumulator == value else no
            case 0x45:
                at += yes if accumulator & value else no
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"no such operation: {operation:#x}")


def ask(machine: Machine, number: int, *arguments: int, network: bool = False) -> int:
    return run(program(machine, network=network), number, *arguments, audit=machine.audit)


@machines
def test_without_a_network_only_local_sockets_can_be_made(machine: Machine) -> None:
    for family in range(64):
        expected = ALLOW if family in (bpf.AF_UNIX, bpf.AF_NETLINK) else ERRNO | EACCES
        for kind in (1, 2, 3, 5, 1 | 0o2000000):
            assert ask(machine, machine.socket, family, kind, 0) == expected, family
        pair = ALLOW if family == bpf.AF_UNIX else ERRNO | EACCES
        assert ask(machine, machine.socketpair, family, 1, 0) == pair


@machines
def test_of_netlink_only_the_part_that_tells_addresses_and_routes_is_open(machine: Machine) -> None:
    for protocol in range(1, 32):
        assert ask(machine, machine.socket, bpf.AF_NETLINK, 3, protocol) == ERRNO | EACCES


@machines
def test_what_the_kernel_cuts_off_an_argument_does_not_deceive_the_filter(machine: Machine) -> None:
    assert ask(machine, machine.socket, AF_INET | 1 << 32, 1, 0) == ERRNO | EACCES
    assert ask(machine, machine.socket, bpf.AF_UNIX | 5 << 40, 1, 0) == ALLOW


@machines
@given(family=U64, kind=U64, protocol=U64)
def test_no_argument_at_all_opens_another_family(
    machine: Machine, family: int, kind: int, protocol: int
) -> None:
    low = family & 0xFFFFFFFF
    local = low == bpf.AF_UNIX or (low == bpf.AF_NETLINK and protocol & 0xFFFFFFFF == bpf.NETLINK_ROUTE)
    assert (ask(machine, machine.socket, family, kind, protocol) == ALLOW) is local


@machines
def test_with_a_network_all_sockets_and_io_uring_are_open(machine: Machine) -> None:
    for family in (bpf.AF_UNIX, AF_INET, AF_INET6, AF_PACKET, AF_VSOCK, AF_ALG):
        assert ask(machine, machine.socket, family, network=True) == ALLOW
    assert all(ask(machine, number, network=True) == ALLOW for number in machine.io_uring)


@machines
def test_without_a_network_io_uring_is_not_there(machine: Machine) -> None:
    assert {ask(machine, number) for number in (425, 426, 427)} == {ERRNO | ENOSYS}


@machines
@pytest.mark.parametrize("network", [True, False])
def test_no_new_namespace_is_made(machine: Machine, network: bool) -> None:
    for bit in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert ask(machine, machine.clone, bit | 17, network=network) == ERRNO | EPERM
        assert ask(machine, machine.unshare, bit, network=network) == ERRNO | EPERM
    assert ask(machine, machine.unshare, bpf.NEW_TIME, network=network) == ERRNO | EPERM
    assert ask(machine, machine.setns, 3, 0, network=network) == ERRNO | EPERM
    assert ask(machine, machine.clone3, network=network) == ERRNO | ENOSYS


@machines
def test_threads_and_processes_can_be_made(machine: Machine) -> None:
    thread = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000 | 0x1000000
    for flags in (thread, 17, 0x01200011, 0x4111):  # pthread_create, fork, fork of glibc, vfork
        assert ask(machine, machine.clone, flags) == ALLOW
    assert ask(machine, machine.unshare, 0x400) == ALLOW


@machines
@pytest.mark.parametrize("network", [True, False])
@given(whom=U64)
def test_limits_and_priorities_of_others_are_out_of_reach(machine: Machine, network: bool, whom: int) -> None:
    """The kernel looks at the lower half of a process id only, and so does the filter."""
    expected = ALLOW if whom & 0xFFFFFFFF == 0 else ERRNO | EPERM
    for number in machine.of_process:
        assert ask(machine, number, whom, 7, network=network) == expected
        assert ask(machine, number, 0, 7, network=network) == ALLOW
    for number, process, group, of_user in (
        (machine.setpriority, 0, 1, bpf.PRIO_USER),
        (machine.ioprio_set, 1, 2, bpf.IOPRIO_WHO_USER),
    ):
        assert ask(machine, number, process, whom, 7, network=network) == expected
        assert ask(machine, number, group, whom, 7, network=network) == expected
        assert ask(machine, number, of_user, whom, 7, network=network) == ERRNO | EPERM


@machines
@given(audit=U32, number=U32, first=U64)
def test_a_system_call_of_another_architecture_ends_the_process(
    machine: Machine, audit: int, number: int, first: int
) -> None:
    for other in {audit, I386, ARM, *(each.audit for each in MACHINES.values())} - {machine.audit}:
        assert run(program(machine, network=True), number, first, audit=other) == KILL


def test_the_second_abi_of_x86_64_is_refused_whatever_it_asks() -> None:
    machine = MACHINES["x86_64"]
    for number in (0, 41, 53, 59):
        assert ask(machine, number | bpf.X32, bpf.AF_UNIX, network=True) == ERRNO | EPERM


@machines
@given(number=st.integers(0, 500), arguments=st.tuples(U64, U64, U64))
def test_every_other_system_call_is_allowed(
    machine: Machine, number: int, arguments: tuple[int, int, int]
) -> None:
    concerned = {machine.socket, machine.socketpair, machine.clone, machine.unshare, machine.setns, 435}
    concerned |= {*machine.of_process, machine.setpriority, machine.ioprio_set}
    if number not in concerned | set(machine.io_uring):
        assert ask(machine, number, *arguments) == ALLOW
