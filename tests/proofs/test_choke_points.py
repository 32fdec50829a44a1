"""The choke points: whichever check is taken out of the program, a test that is named here fails."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.warm import Commands
from tests.proofs.mutant import VARIABLE

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent" / "penstock_agent"
ENDPOINT = "tests/agent/endpoint"
JUDGE = "(failure := await inbound.judge(self._shared, exchange, {})) is not None"
ITS_JUDGE = "return await inbound.judge(self._shared, {}, message)"

CHOKE_POINTS: dict[str, tuple[str, str, str, str]] = {
    # what is taken out: (module, text, what stands there instead, the test that must fail)
    "the endpoint gets recorded exchanges": (
        "daemon.intake",
        "self._endpoint.serve(recorded)",
        "self._endpoint.serve(inner)",
        "tests/agent/daemon/test_intake.py::test_what_happens_and_what_leaves_is_in_the_ledger",
    ),
    "bytes are recorded": (
        "ledger.recorded",
        "self._say(Sent(self.key, self.server, self.principal, offset, len(data), digest, answers))",
        "pass",
        "tests/agent/ledger/test_recorded.py::test_bytes_leave_after_their_entry_is_written_and_safe",
    ),
    "what cannot be recorded does not leave": (
        "ledger.recorded",
        "            self._ledger.record(entry)\n        except CannotRecord:\n"
        "            raise self._broken() from None",
        "            self._ledger.record(entry)\n        except CannotRecord:\n            pass",
        "tests/agent/ledger/test_recorded.py::"
        "test_what_cannot_be_recorded_does_not_leave_though_nobody_waits_for_the_disk",
    ),
    "headers are recorded": (
        "ledger.recorded",
        "if not FORM.issuperset(headers):",
        "if False:",
        "tests/agent/ledger/test_recorded.py::test_a_head_that_says_more_than_its_form_is_an_entry",
    ),
    "requests of sessions are judged": (
        "endpoint.handshake.handshake",
        JUDGE.format("message"),
        "(failure := None) is not None",
        f"{ENDPOINT}/test_recording.py::test_what_is_allowed_is_recorded_before_the_server_hears_of_it",
    ),
    "requests of HTTP+SSE are judged": (
        "endpoint.handshake.httpsse",
        ITS_JUDGE.format("exchange"),
        "return None",
        f"{ENDPOINT}/handshake/test_httpsse.py::test_what_is_hidden_is_denied_in_words_on_the_stream",
    ),
    "requests in a batch are judged": (
        "endpoint.handshake.batches",
        ITS_JUDGE.format("self._exchange"),
        "return None",
        f"{ENDPOINT}/handshake/test_batches.py::test_each_request_is_judged_and_fails_by_itself",
    ),
    "requests of 2026-07-28 are judged": (
        "endpoint.modern.modern",
        JUDGE.format("message"),
        "(failure := None) is not None",
        f"{ENDPOINT}/modern/test_modern.py::"
        "test_a_tool_that_is_not_exposed_is_denied_in_words_that_a_model_can_read",
    ),
    "requests over the bridge are judged": (
        "endpoint.bridge.down.bridge",
        JUDGE.format("asked"),
        "(failure := None) is not None",
        f"{ENDPOINT}/bridge/down/test_bridge.py::test_what_is_not_exposed_is_denied_before_any_server_is_started",
    ),
    "what the bridge answers itself is judged": (
        "endpoint.bridge.down.bridge",
        JUDGE.format("message"),
        "(failure := None) is not None",
        f"{ENDPOINT}/bridge/down/test_bridge.py::test_what_cannot_be_recorded_starts_no_server",
    ),
    "subscriptions over the bridge are judged": (
        "endpoint.bridge.down.listens",
        "if await inbound.judge(self._shared, exchange, asked) is not None:",
        "if False:",
        f"{ENDPOINT}/bridge/down/test_listens.py::test_what_is_not_exposed_cannot_be_listened_to",
    ),
    "what the gate denies is denied": (
        "endpoint.inbound",
        "shared.catalogues)\n    if isinstance(found, Denied):",
        "shared.catalogues)\n    found = Allowed() if isinstance(found, Denied) else found\n    if False:",
        f"{ENDPOINT}/test_recording.py::test_what_is_denied_is_recorded_with_the_rule",
    ),
    "after something sensitive was read, nothing is carried out": (
        "endpoint.inbound",
        "message, use, found)\n    if isinstance(found, Denied):",
        "message, use, found)\n    if False:",
        f"{ENDPOINT}/test_tainting.py::test_after_a_sensitive_read_what_writes_or_reaches_out_is_refused_everywhere",
    ),
    "what is not exposed is denied by the gate": (
        "gate.view",
        "return ALLOWED if name is not None and self.shows(item, name) else self._denied(item)",
        "return ALLOWED",
        "tests/agent/gate/test_gate.py::test_an_item_can_be_used_when_it_is_exposed_and_only_then",
    ),
    "the rules of the site hold": (
        "gate.view",
        "if ruled.verdict is not Verdict.DENIED:",
        "if True:",
        f"{ENDPOINT}/test_policy.py::test_a_call_is_held_to_the_rules_and_the_ledger_says_by_which",
    ),
    "budgets hold": (
        "endpoint.inbound",
        "if found.charges and (why := _take(shared, exchange, message, found)) is not None:",
        "if (why := None) is not None:",
        f"{ENDPOINT}/test_policy.py::test_each_call_of_a_batch_is_judged_and_counted",
    ),
    "approvals are waited for": (
        "endpoint.inbound",
        "if found.approve:",
        "if False:",
        f"{ENDPOINT}/test_inbound.py::test_prompts_and_the_uses_of_others_wait_too",
    ),
    "a changed definition is refused": (
        "endpoint.inbound",
        "if (text := definitions.refusal(own, inner)) is not None:",
        "if (text := None) is not None:",
        f"{ENDPOINT}/test_withheld.py::test_what_was_approved_cannot_be_read_and_nothing_is_used",
    ),
    "a changed definition is not shown": (
        "endpoint.outbound",
        "shown = partial(definitions.shown, server, sight) if definitions.sees(server, request) else None",
        "shown = None",
        f"{ENDPOINT}/test_withheld.py::test_a_changed_tool_is_withheld_and_so_is_a_new_one",
    ),
    "decisions are recorded": (
        "endpoint.inbound",
        "        shared.ledger.record(entry)\n",
        "        pass\n",
        f"{ENDPOINT}/test_recording.py::test_what_is_denied_is_recorded_with_the_rule",
    ),
    "what cannot be recorded is not done": (
        "endpoint.inbound",
        "return failures.not_executed(shared.ledger.refuses or NOT_RECORDED)",
        "return found.failure",
        f"{ENDPOINT}/test_recording.py::test_a_call_that_cannot_be_recorded_is_not_made_and_the_caller_reads_that",
    ),
    "while the ledger fails, nothing begins": (
        "endpoint.inbound",
        "if (why := shared.ledger.refuses) is not None:",
        "if (why := None) is not None:",
        f"{ENDPOINT}/test_recording.py::"
        "test_while_the_ledger_refuses_nothing_new_begins_and_what_runs_may_end",
    ),
    "what sessions are told is looked at": (
        "endpoint.session.dialogue",
        "return outbound.passing(shared, server, caller, request, message, key, sight, self._held, then)",
        "return then(message)",
        f"{ENDPOINT}/test_redaction.py::test_a_session_gets_results_errors_and_notifications_without_what_is_found",
    ),
    "answers in 2026-07-28 are looked at": (
        "endpoint.modern.process",
        "return self._passing(flight, request, answer, partial(self._let_go, flight))",
        "return self._let_go(flight, answer)",
        f"{ENDPOINT}/modern/test_modern.py::"
        "test_lists_show_what_is_exposed_and_no_cache_may_keep_them_for_others",
    ),
    "notifications in 2026-07-28 are looked at": (
        "endpoint.modern.process",
        "return self._passing(flight, None, note, partial(self._tell_of, flight))",
        "return self._tell_of(flight, note)",
        f"{ENDPOINT}/test_redaction.py::test_a_caller_of_2026_07_28_gets_the_same",
    ),
    "what is said in 2026-07-28 is looked at": (
        "endpoint.modern.process",
        "return outbound.passing(shared, server, caller, request, message, key, sight, self._held, then)",
        "return then(message)",
        f"{ENDPOINT}/test_redaction.py::test_a_caller_of_2026_07_28_gets_the_same",
    ),
    "long answers are looked at": (
        "endpoint.outbound",
        "outcome = await shared.turns.run(redacting(redactor, request, out))",
        "outcome = None",
        f"{ENDPOINT}/test_outbound.py::test_a_long_answer_comes_without_what_is_found",
    ),
    "what sessions are told again is looked at": (
        "endpoint.session.dialogue",
        'return outbound.let_out(self._shared, self.server, caller, request, message, "")',
        "return message",
        f"{ENDPOINT}/test_recall.py::"
        "test_a_list_is_told_again_while_a_process_is_replaced_and_cut_to_what_the_caller_may_see_now",
    ),
    "answers of before are looked at": (
        "endpoint.recall",
        "out = outbound.let_out(shared, process.server, caller, request, told, exchange.key)",
        "out = told",
        f"{ENDPOINT}/test_recall.py::test_a_stateless_caller_is_told_again_only_what_is_exposed",
    ),
    "lists are cut to what is exposed": (
        "gate.gate",
        "return found if view.shows(item, name) else None",
        "return found",
        "tests/agent/gate/test_gate.py::test_a_list_shows_what_may_be_used",
    ),
    "secrets are taken out": (
        "endpoint.outbound",
        "if redactor is None or out is None:",
        "if True:",
        f"{ENDPOINT}/test_redaction.py::test_a_session_gets_results_errors_and_notifications_without_what_is_found",
    ),
}


#: What runs need and no mutant changes.
LOADED = (
    *("pytest", "pytest_asyncio.plugin", "pytest_timeout", "hypothesis", "_hypothesis_pytestplugin"),
    *("aiohttp.web", "cryptography.x509", "msgspec", "pydantic", "structlog.testing", "uvloop"),
    *("websockets.asyncio.client", "websockets.asyncio.server", "penstock.tunnel"),
)


def run(
    commands: Commands, tests: list[str], mutant: tuple[str, str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which stops at the first that fails."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(str(ROOT / name) for name in ("core", "agent", "relay", "."))
    if mutant is not None:
        module, old, new = mutant
        env[VARIABLE] = json.dumps([f"penstock_agent.{module}", old, new])
    plugins = ("-p", "tests.proofs.mutant", "-p", "no:cacheprovider", "-p", "no:xdist")
    # Nobody reads why an assertion of a plugin failed: it may be loaded already.
    quiet = ("-q", "--tb=no", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
    program = ["pytest", *plugins, f"--rootdir={ROOT}", "-x", *quiet, "--timeout=20"]
    return commands.run([*program, *tests], env, folder=ROOT)


Done = Future[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Done]]:
    """All of them, as many at a time as there are processors; `""` is the one without a change."""
    with closing(Commands(LOADED)) as commands, ThreadPoolExecutor(os.cpu_count()) as pool:
        everything = sorted({test for *_, test in CHOKE_POINTS.values()})
        found = {"": pool.submit(run, commands, everything)}
        for what, (module, old, new, test) in CHOKE_POINTS.items():
            found[what] = pool.submit(run, commands, [test], (module, old, new))
        yield found


def test_the_tests_that_must_fail_pass_while_nothing_is_taken_out(runs: dict[str, Done]) -> None:
    done = runs[""].result()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("what", CHOKE_POINTS)
def test_without_it_a_test_fails(runs: dict[str, Done], what: str) -> None:
    done, test = runs[what].result(), CHOKE_POINTS[what][-1]
    # 1: a test has failed. Other numbers would say that none could be run.
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED {test}" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("call", ["inbound.judge", "outbound.let_out", "outbound.passing"])
def test_each_place_that_asks_a_choke_point_is_in_the_table(call: str) -> None:
    """A new way in or out needs a row here, and so a test of its own."""
    places = []
    for path in sorted(AGENT.rglob("*.py")):
        module = ".".join(path.relative_to(AGENT).with_suffix("").parts)
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        places += [module for func in calls if ast.unparse(func) == call]
    rows = [module for module, old, _, _ in CHOKE_POINTS.values() if f"{call}(" in old]
    assert sorted(rows) == places
