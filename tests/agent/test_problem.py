"""What operators are told: a sentence, a status, and nothing that could drive their terminal."""

from penstock_agent.problem import Exit, Problem, printable


class Refused(Problem):
    status = Exit.REFUSED


def test_a_problem_is_its_sentence_and_ends_with_the_status_of_its_kind_or_its_own() -> None:
    assert (str(Problem("Do this.")), Problem("Do this.").status) == ("Do this.", Exit.FAILED)
    assert Refused("No.").status is Exit.REFUSED
    assert Refused("No.", Exit.USAGE).status is Exit.USAGE
    assert Refused.status is Exit.REFUSED, "one problem's status is not the next one's"


def test_exit_statuses_are_those_that_scripts_read() -> None:
    assert {status.name: int(status) for status in Exit} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "INTERRUPTED": 130,
    }


def test_text_of_others_reaches_a_terminal_without_control_characters() -> None:
    assert printable("tool\x1b[2J\n\u202egnp\x00") == "tool?[2J??gnp?"
    assert printable("größe → 1") == "größe → 1"


def test_text_of_others_is_cut_and_shows_that_it_was() -> None:
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdefg", 6) == "abcdef…"
