"""Tests mirror the sources: core/penstock/names.py is tested by tests/core/test_names.py, and so on."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"core": "penstock", "agent": "penstock_agent", "relay": "penstock_relay"}

A, R = "agent/penstock_agent", "relay/penstock_relay"
TA, TR = "tests/agent", "tests/relay"

# Source -> the test file that covers it instead of one of its own, and why.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "core/penstock/diagnosis.py": ("tests/core/test_envelope.py", "the words of the envelope's refusals"),
    f"{A}/adding/fetch.py": (f"{TA}/adding/test_install.py", "runs the clients, seen where packages arrive"),
    f"{A}/adding/npm.py": (f"{TA}/adding/test_install.py", "packages of npm"),
    f"{A}/adding/placeholders.py": (f"{TA}/adding/test_convert.py", "filled where an entry is converted"),
    f"{A}/adding/pypi.py": (f"{TA}/adding/test_install.py", "packages of PyPI"),
    f"{A}/children/exits.py": (f"{TA}/children/test_child.py", "a child is what it watches"),
    f"{A}/children/keeper_main.py": (f"{TA}/children/test_keeper.py", "the other end of the keeper's pipe"),
    f"{A}/children/launcher_main.py": (
        f"{TA}/children/confinement/test_confined.py",
        "what it carries out, seen by a child; that it becomes one, in test_child.py",
    ),
    f"{A}/cli/__init__.py": (f"{TA}/cli/test_main.py", "the program as a whole"),
    f"{A}/cli/common.py": (f"{TA}/cli/test_main.py", "options that every command has"),
    f"{A}/cli/effective.py": (f"{TA}/cli/test_check.py", "what config check shows"),
    f"{A}/cli/mistakes.py": (f"{TA}/cli/test_check.py", "what config check finds"),
    f"{A}/cli/found.py": (f"{TA}/cli/test_importing.py", "what import shows"),
    f"{A}/cli/trying.py": (f"{TA}/cli/test_servers.py", "what these commands share"),
    f"{A}/cli/variables.py": (f"{TA}/cli/test_servers.py", "what servers add is given"),
    f"{A}/endpoint/answers.py": (f"{TA}/endpoint/test_endpoint.py", "an answer is seen where it is given"),
    f"{A}/ledger/checking.py": (f"{TA}/cli/test_ledger.py", "verify and report, as commands"),
    f"{A}/console/views.py": (f"{TA}/console/test_app.py", "what pages show and buttons do"),
    f"{A}/endpoint/handshake/channel.py": (
        f"{TA}/endpoint/handshake/test_httpsse.py",
        "one event stream, as its client sees it",
    ),
    f"{A}/endpoint/bridge/down/pending.py": (
        f"{TA}/endpoint/bridge/down/test_bridge.py",
        "seen where calls go on",
    ),
    f"{A}/endpoint/bridge/up/out.py": (
        f"{TA}/endpoint/bridge/up/test_subscription.py",
        "what it says is looked at there",
    ),
    f"{A}/endpoint/session/beginning.py": (
        f"{TA}/endpoint/test_lifeline.py",
        "greeting one child after another",
    ),
    f"{A}/endpoint/session/dialogue.py": (
        f"{TA}/endpoint/test_endpoint.py",
        "what clients and children see of it",
    ),
    f"{A}/children/local.py": (f"{TA}/children/test_pool.py", "starts whichever kind the pool is asked for"),
    **{
        f"{A}/control/{name}.py": (f"{TA}/control/test_listening.py", "both ends talk to each other there")
        for name in ("answers", "asking", "wire")
    },
    f"{A}/endpoint/faults.py": (f"{TA}/endpoint/test_endpoint.py", "what a child does wrong"),
    f"{A}/endpoint/looking.py": (
        f"{TA}/endpoint/test_withheld.py",
        "seen where a process is asked for its lists",
    ),
    f"{A}/gate/methods.py": (f"{TA}/gate/test_gate.py", "all of it is asked by the gate"),
    f"{A}/gate/view.py": (f"{TA}/gate/test_gate.py", "all of it is asked by the gate"),
    f"{A}/gate/definitions.py": (f"{TA}/endpoint/test_withheld.py", "seen where lists and calls go by"),
    f"{A}/endpoint/shared.py": (f"{TA}/endpoint/test_endpoint.py", "what an endpoint is made of"),
    f"{A}/tolerance.py": (f"{TA}/test_config.py", "a table of the settings"),
    f"{A}/endpoint/held.py": (f"{TA}/endpoint/session/test_delivery.py", "counts what deliveries hold"),
    f"{A}/endpoint/limits.py": (f"{TA}/endpoint/test_endpoint.py", "numbers"),
    f"{A}/endpoint/modern/process.py": (
        f"{TA}/endpoint/modern/test_calls.py",
        "a process is seen through its calls",
    ),
    f"{A}/endpoint/replies.py": (f"{TA}/endpoint/session/test_delivery.py", "how the child hears of it"),
    f"{A}/endpoint/watch.py": (f"{TA}/endpoint/handshake/test_calls.py", "a call whose caller is gone"),
    f"{A}/endpoint/ports.py": (
        f"{TA}/endpoint/test_lifeline.py",
        "protocols: what is asked of children",
    ),
    f"{A}/endpoint/session/session.py": (
        f"{TA}/endpoint/handshake/test_calls.py",
        "a session is seen through its calls",
    ),
    f"{A}/endpoint/session/sessions.py": (
        f"{TA}/endpoint/test_endpoint.py",
        "finds the session of a request",
    ),
    f"{A}/examples/library.py": (f"{TA}/examples/test_docsearch.py", "what the example server searches"),
    f"{A}/enrolment/firstcontact.py": (
        f"{TA}/enrolment/test_enrol.py",
        "its first connection",
    ),
    f"{A}/remote/channel.py": (f"{TA}/remote/test_streamable.py", "what both transports share"),
    f"{A}/remote/spec.py": (f"{TA}/remote/test_remotes.py", "values, by which a conversation begins"),
    f"{A}/site/approved.py": (f"{TA}/endpoint/test_withheld.py", "what is not as approved"),
    f"{A}/site/asking.py": (f"{TA}/site/test_aggregate.py", "the part of it that asks several servers"),
    f"{A}/site/beginning.py": (f"{TA}/site/test_aggregate.py", "its answer to initialize"),
    f"{A}/site/questions.py": (f"{TA}/site/test_aggregate.py", "what servers ask, seen where it arrives"),
    f"{A}/site/client.py": (f"{TA}/site/test_aggregate.py", "each of its servers, seen through it"),
    f"{A}/site/status.py": (f"{TA}/site/test_aggregate.py", "a tool of its own"),
    f"{A}/callers/settings.py": (f"{TA}/test_config.py", "a table of the settings"),
    f"{A}/callers/trust.py": (f"{TA}/callers/test_callers.py", "the answers, without what it takes"),
    f"{A}/catalogue/offer.py": (f"{TA}/catalogue/test_conversation.py", "values, read from a child"),
    f"{R}/ca/keeping.py": (f"{TR}/ca/test_authority.py", "an authority and what it remembers"),
    f"{R}/ca/opening.py": (f"{TR}/cli/test_authority.py", "how commands open it"),
    f"{R}/cli/__init__.py": (f"{TR}/cli/test_cli.py", "the program as a whole"),
    f"{R}/cli/app.py": (f"{TR}/cli/test_cli.py", "puts the commands together"),
    f"{R}/cli/common.py": (f"{TR}/cli/test_cli.py", "options that every command has"),
    f"{R}/cli/config.py": (f"{TR}/cli/test_cli.py", "commands are tried as a user gives them"),
    f"{R}/cli/serve.py": (f"{TR}/cli/test_cli.py", "commands are tried as a user gives them"),
    f"{R}/cli/sites.py": (f"{TR}/cli/test_cli.py", "commands are tried as a user gives them"),
    f"{R}/cli/tokens.py": (f"{TR}/cli/test_cli.py", "commands are tried as a user gives them"),
    f"{R}/edge/limits.py": (f"{TR}/edge/test_handler.py", "numbers"),
    f"{R}/edge/ports.py": (f"{TR}/edge/test_handler.py", "protocols: what the edge asks of others"),
    f"{R}/edge/stats.py": (f"{TR}/test_ops.py", "counters, seen in the metrics"),
    f"{R}/store/agents.py": (f"{TR}/store/test_records.py", "records refer to each other"),
    f"{R}/store/granted.py": (f"{TR}/store/test_grants.py", "values and columns of grants"),
    f"{R}/store/invites.py": (f"{TR}/store/test_records.py", "records refer to each other"),
    f"{R}/store/revocation.py": (f"{TR}/store/test_record.py", "the end of a grant is what it records"),
    f"{R}/store/sites.py": (f"{TR}/store/test_records.py", "records refer to each other"),
    f"{R}/store/store.py": (f"{TR}/store/test_records.py", "records refer to each other"),
    f"{R}/store/tokens.py": (f"{TR}/store/test_records.py", "records refer to each other"),
    f"{R}/store/models.py": (f"{TR}/store/test_database.py", "the tables, compared with the migrations"),
    f"{R}/store/migrations/env.py": (f"{TR}/store/test_database.py", "runs inside of migrations"),
    f"{R}/store/migrations/versions/v0001_base.py": (f"{TR}/store/test_database.py", "a migration"),
    **{
        f"{R}/oauth/{name}.py": (
            f"{TR}/oauth/test_flow.py",
            "a part of one conversation with user and client",
        )
        for name in (
            "authorize",
            "directory",
            "endpoints",
            "login",
            "pages",
            "server",
            "visit",
        )
    },
    f"{R}/setting_values.py": (f"{TR}/test_config.py", "the settings that are written so"),
    f"{R}/switchboard/request.py": (
        f"{TR}/switchboard/test_switchboard.py",
        "a call, as the tunnel wants it",
    ),
    f"{R}/switchboard/calls.py": (
        f"{TR}/edge/test_handler.py",
        "what edge and switchboard say",
    ),
}

# Test file -> why no source has its name.
OF_SEVERAL: dict[str, str] = {
    "tests/proofs/test_silent_hour.py": "the programs together: nobody calls, and nothing leaves",
    "tests/proofs/test_canaries.py": "the programs together: what leaves was called and allowed",
    "tests/proofs/test_hostile_relay.py": "the agent as a program, against a relay that lies",
    "tests/proofs/test_hostile_agent.py": "the relay as a program, against an agent that lies",
    "tests/proofs/test_hostile_child.py": "the agent as a program, with a server that does all it can",
    "tests/proofs/test_census.py": "the agent as a program, seen by the kernel",
    f"{TA}/children/test_agent_end.py": "what is left after the end of an agent that had children",
    f"{TA}/children/containers/test_contained.py": "real children in containers, and what is left of them",
    f"{TA}/children/confinement/test_confined.py": "real children, confined, and what they try",
    f"{TA}/cli/test_images.py": "servers in containers, through each of the commands",
    f"{TA}/cli/test_main.py": "the program as a whole",
    f"{TA}/site/test_site_endpoint.py": "the whole site, through the endpoint",
    f"{TA}/site/test_real_children.py": "the whole site and real processes together",
    f"{TA}/endpoint/test_real_children.py": "endpoint and children together",
    f"{TA}/endpoint/modern/test_real_children.py": "the modern era and the SDK together",
    f"{TA}/endpoint/test_stop_button.py": "what the administrator stops, in each part of the endpoint",
    f"{TA}/endpoint/test_redaction.py": "what is taken out, in each part of the endpoint",
    f"{TA}/endpoint/test_policy.py": "the site's rules and budgets, in each part of the endpoint",
    f"{TA}/site/test_site_policy.py": "the rules of each server, where all servers are one",
    f"{TA}/endpoint/test_withheld.py": "what is not as approved, in each part of the endpoint",
    f"{TA}/endpoint/test_recording.py": "what the ledger learns from each part of the endpoint",
    f"{TA}/endpoint/test_consent.py": "grants: what the relay asks, and what calls are held to",
    "tests/core/tunnel/test_mutations.py": "the simulation notices every rule that is taken away",
    "tests/core/tunnel/test_simulation.py": "both ends, and links that cut, delay and reorder",
    "tests/core/tunnel/test_agent_bounds.py": "agent.py's other half: what it holds at most",
    "tests/core/tunnel/test_origin_last_words.py": "origin.py's other half: how exchanges end",
    "tests/core/tunnel/test_protocol.py": "the tables of PROTOCOL.md",
    "tests/core/tunnel/test_vectors.py": "the vectors that other implementations use too",
    "tests/core/test_link_memory.py": "link.py's other half: what a connection costs",
    f"{TA}/dialer/test_dialer_obstacles.py": "dialer.py's other half: what stands between agent and relay",
    f"{TR}/switchboard/test_affinity.py": "switchboard.py's other half: callers and the agents of a site",
    f"{TR}/switchboard/test_suspension.py": "switchboard.py's third part: sites that get no calls",
    "tests/core/tunnel/test_rules.py": "the rules of an exchange: both ends, and links between them",
    "tests/core/test_envelope_batch.py": "envelope.py's third part: arrays of 2025-03-26",
    "tests/core/test_envelope_child.py": "envelope.py's other half: what children write",
    f"{TR}/cli/test_cli.py": "all commands: they share a store",
    f"{TR}/oauth/test_signed.py": "a grant that a provider signs, from the consent page to the agent",
    f"{TR}/oauth/test_whole_site.py": "all servers of a site together, from the consent page to the grant",
    f"{TR}/oauth/test_abuse.py": "strangers: the authorization server as a whole",
    f"{TR}/oauth/test_recorded.py": "what all pages and endpoints leave in the audit log",
    f"{TR}/test_matrix.py": "every route of the relay, asked by everybody",
    f"{TR}/oauth/test_flow.py": "a user connects a client: the authorization server as a whole",
    f"{TR}/store/test_records.py": "all records: they refer to each other",
}


def needs_test(source: str, text: str) -> bool:
    """Whether there is something to test: a package's own module often only passes names on."""
    defining = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    defines = any(isinstance(node, defining) for node in ast.walk(ast.parse(text)))
    return defines or not source.endswith("__init__.py")


def own_test(source: str) -> str:
    """The place of a source's own test."""
    folder, _package, *inside, file = PurePosixPath(source).parts
    return str(PurePosixPath("tests", folder, *inside, f"test_{file}"))


def problems(
    sources: Collection[str],
    tests: Collection[str],
    elsewhere: Mapping[str, tuple[str, str]] = ELSEWHERE,
    of_several: Mapping[str, str] = OF_SEVERAL,
) -> list[str]:
    own = {own_test(source): source for source in sources}
    wrong = [
        f"{source} has no test: write {test}"
        for test, source in own.items()
        if test not in tests and source not in elsewhere
    ]
    wrong += [
        f"{test} tests nothing that is there: name it after its source, or say in OF_SEVERAL why it has none"
        for test in tests
        if test.split("/")[1] in FOLDERS and test not in own and test not in of_several
    ]
    for source, (test, why) in elsewhere.items():
        if source not in sources:
            wrong.append(f"{source} is in ELSEWHERE and does not exist")
        elif own_test(source) in tests:
            wrong.append(f"{source} has a test of its own now: take it out of ELSEWHERE")
        if test not in tests or not why:
            wrong.append(f"{test}, which should cover {source}, does not exist")
    wrong += [f"{test} is in OF_SEVERAL and does not exist" for test in of_several if test not in tests]
    return sorted(wrong)


def files_of_tests() -> list[str]:
    """Every Python file below tests/, without what Node packages bring."""
    folders = [folder for folder in (ROOT / "tests").iterdir() if folder.name != "clients"]
    return [path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.py")]


def present() -> tuple[set[str], set[str]]:
    """What there is: sources, and files with tests."""
    sources = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if needs_test(name, path.read_text(encoding="utf-8")):
                sources.add(name)
    return sources, {name for name in files_of_tests() if PurePosixPath(name).name.startswith("test_")}


def test_every_source_has_its_test_and_every_test_its_source() -> None:
    wrong = problems(*present())
    assert not wrong, "\n".join(wrong)


def test_every_test_file_is_where_pytest_finds_it() -> None:
    """A file with tests whose name pytest does not know would never run."""
    for name in files_of_tests():
        if PurePosixPath(name).name.startswith("test_"):
            continue
        body = ast.parse((ROOT / name).read_text(encoding="utf-8")).body
        functions = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert [function for function in functions if function.startswith("test_")] == [], name


NAMES, HTTP = "core/penstock/names.py", "core/penstock/http.py"


@pytest.mark.parametrize(
    ("sources", "tests", "elsewhere", "complaint"),
    [
        ({NAMES}, set(), {}, f"{NAMES} has no test: write tests/core/test_names.py"),
        (set(), {"tests/core/test_names.py"}, {}, "tests/core/test_names.py tests nothing that is there"),
        (
            set(),
            {"tests/core/test_http.py"},
            {NAMES: ("tests/core/test_http.py", "x")},
            f"{NAMES} is in ELSEWHERE",
        ),
        ({NAMES}, set(), {NAMES: ("tests/core/test_http.py", "x")}, "which should cover"),
        (
            {NAMES, HTTP},
            {"tests/core/test_names.py", "tests/core/test_http.py"},
            {NAMES: ("tests/core/test_http.py", "x")},
            f"{NAMES} has a test of its own now",
        ),
    ],
)
def test_the_checker_names_what_is_missing(
    sources: set[str], tests: set[str], elsewhere: dict[str, tuple[str, str]], complaint: str
) -> None:
    assert complaint in "\n".join(problems(sources, tests, elsewhere, {}))


def test_a_source_with_its_test_and_one_that_is_covered_elsewhere_are_fine() -> None:
    covered = {NAMES: ("tests/core/test_http.py", "x")}
    assert problems({NAMES, HTTP}, {"tests/core/test_http.py"}, covered, {}) == []
    assert not needs_test("core/penstock/__init__.py", '"""Words."""\n__version__ = "1"\n')
    assert needs_test("relay/penstock_relay/cli/__init__.py", "def main() -> None: ...\n")
