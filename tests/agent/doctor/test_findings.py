from penstock_agent.doctor.findings import Grade, failed, ok, warning, worst


def test_the_worst_counts() -> None:
    assert worst([]) is Grade.OK
    assert worst([ok("a", ""), warning("b", "")]) is Grade.WARNING
    assert worst([failed("a", ""), warning("b", ""), ok("c", "")]) is Grade.FAILED
