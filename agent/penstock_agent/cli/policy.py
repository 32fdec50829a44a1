"""``penstock-agent policy``: what the rules say, whether it is what was meant, and what they could be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_agent.cli.common import (
    ConfigOption,
    JsonOption,
    StateDirOption,
    emit,
    problems,
    say,
    say_error,
    usage,
)
from penstock_agent.cli.ledger import DirOption, SinceOption, folder_of, moment_of
from penstock_agent.problem import Exit, printable

if TYPE_CHECKING:
    from penstock_agent.catalogue.offer import Catalogue
    from penstock_agent.config import Settings
    from penstock_agent.gate.policy.cases import Outcome
    from penstock_agent.gate.policy.explain import Explanation
    from penstock_agent.gate.policy.rules import Policy
    from penstock_agent.gate.policy.suggest import Dated, Found
    from penstock_agent.ledger.reading import Record

CASES = "policy-cases.toml"
"""Beside agent.toml."""


def explain(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="A server of agent.toml.")],
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="Its name; or prompt:NAME, resource:URI.")],
    arguments: Annotated[
        str, typer.Argument(metavar="ARGUMENTS", help="Of the call, as a JSON object.")
    ] = "{}",
    who: Annotated[str, typer.Option("--as", metavar="WHO", help="Subject or e-mail address.")] = "",
    groups: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="A group of theirs; again for more.")
    ] = None,
    client: Annotated[str, typer.Option("--client", metavar="ID", help="Of the application.")] = "",
    issuer: Annotated[str, typer.Option("--issuer", metavar="URL", help="Who says who they are.")] = "",
    after: Annotated[
        bool, typer.Option("--tainted", help="After something sensitive was read for them.")
    ] = False,
    ask: Annotated[
        bool, typer.Option("--ask", help="Start the server once and ask which tools it marks as read-only.")
    ] = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Say what the rules would say to a call, which of them decides, and why each other does not.

    Reads agent.toml as it is; budgets, grants of the user and what is paused are not looked at.
    Exit status 0 when the call is allowed, 1 when it is not.
    """
    with problems(json):
        from penstock_agent.config import Options, load
        from penstock_agent.gate.expose import Expose
        from penstock_agent.gate.policy import cases
        from penstock_agent.gate.policy import explain as explaining
        from penstock_agent.ledger.entries import Verdict

        if not who:
            raise usage("Say for whom, with --as: a subject or an e-mail address.")
        settings = load(Options(config, state_dir))
        written = settings.server(server)
        exposed = Expose.parse(written.expose)
        if after and not any(one.sensitive for one in settings.servers.values()):
            raise usage("No server has anything sensitive: --tainted changes nothing. See sensitive = [...].")
        try:
            item, name = cases.item_of(tool)
        except cases.BadCases as e:
            raise usage(f"{e}.") from None
        catalogue = _catalogue(server, settings) if ask else None
        said = explaining.explain(
            exposed,
            _policy(settings, server),
            cases.somebody(who, groups or (), client, issuer),
            item,
            name,
            _arguments(arguments),
            None if catalogue is None else catalogue.marked,
            Expose.parse(written.sensitive),
        )
        if after:
            approve = settings.taint.after_sensitive == "approve"
            contained = None if catalogue is None else catalogue.contained
            said = explaining.tainted(said, item, name, approve, contained)
        if json:
            import msgspec

            emit(msgspec.to_builtins(said))
        else:
            _show(said)
    raise typer.Exit(Exit.DONE if said.verdict is Verdict.ALLOWED else Exit.FAILED)


def try_cases(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help=f"Cases; without it {CASES} beside agent.toml.")
    ] = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the rules with a file of cases. Exit status 1 when they say something else."""
    with problems(json):
        from penstock_agent import pinning
        from penstock_agent.config import Options, load
        from penstock_agent.gate.expose import Expose
        from penstock_agent.gate.policy import cases

        settings = load(Options(config, state_dir))
        path = file or settings.config_file.parent / CASES
        try:
            found = cases.run(
                cases.read(path.read_text(encoding="utf-8")),
                {
                    name: (Expose.parse(server.expose), _policy(settings, name))
                    for name, server in settings.servers.items()
                },
                settings.taint.taint({name: one.sensitive for name, one in settings.servers.items()}),
                pinning.overrides(settings.servers),
            )
        except (OSError, UnicodeDecodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
            raise usage(f"{path} cannot be read: {why}. Name a file of cases.") from None
        except cases.BadCases as e:
            raise usage(f"{path}: {e}.") from None
        if json:
            import msgspec

            emit({"file": str(path), "cases": msgspec.to_builtins(found)})
        else:
            _compare(found)
    raise typer.Exit(Exit.FAILED if any(one.wrong for one in found) else Exit.DONE)


def suggest(
    since: SinceOption = "30d",
    dir: DirOption = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    json: JsonOption = False,
) -> None:
    """Propose the tightest rules that would have allowed what was allowed, as a change of agent.toml.

    Nothing is written. The ledger has hashes of arguments and not their values, so nothing is proposed about
    arguments.
    """
    with problems(json):
        from penstock_agent.config import Options, load
        from penstock_agent.exposing import rules
        from penstock_agent.gate.policy import suggest as suggesting
        from penstock_agent.ledger.reading import read
        from penstock_agent.settings_file import read_text

        settings = load(Options(config, state_dir))
        records = read(folder_of(settings.state_dir, dir), moment_of(since, 0.0))
        found = suggesting.suggest(_decisions(records))
        text = read_text(settings.config_file, must_exist=True) or ""
        change = rules.diff(text, settings.config_file, found.rules)
        if json:
            import msgspec

            emit({**msgspec.to_builtins(found), "diff": change})
        else:
            _propose(found, change)


def _policy(settings: Settings, server: str) -> Policy:
    from penstock_agent.gate.policy.rules import Policy
    from penstock_agent.policy_settings import policy

    written = settings.server(server)
    return policy(written.profile, written.rules) or Policy()


def _catalogue(server: str, settings: Settings) -> Catalogue:
    from penstock_agent.cli.expose import offered

    return offered(server, settings)


def _arguments(text: str) -> bytes:
    """Raises Problem for what no call could carry."""
    from penstock.strictjson import DuplicateKey, tree
    from penstock_agent.gate.policy.arguments import BadArguments, parse

    raw = text.encode("utf-8", "surrogateescape")
    try:
        parse(raw)
        tree(text)
    except BadArguments:
        raise usage('ARGUMENTS is no JSON object; write \'{"path": "/srv/share"}\'.') from None
    except DuplicateKey:
        raise usage("ARGUMENTS has a key twice in one object, which the agent refuses in a call.") from None
    return raw


def _show(said: Explanation) -> None:
    words = {"allowed": "ALLOWED", "denied": "DENIED", "waiting": "NEEDS APPROVAL"}
    say(f"{words.get(said.verdict.value, said.verdict.value)}  {said.words}")
    for step in said.steps:
        say(f"  {'>' if step.decides else ' '} {step.rule}: {step.words}")
    if said.sensitive:
        say("Note: this reads something sensitive; for a while after it, see --tainted.")
    if said.unknown:
        say(f"Note: {said.unknown}")


def _compare(found: list[Outcome]) -> None:
    for one in found:
        if one.wrong:
            case = one.case
            what = f"{case.who} {case.server} {printable(case.tool, 100)}"
            say(f"case {one.number}: {what}")
            say(f"  - {case.expect.value}" + (f"   because {case.because}" if case.because else ""))
            say(f"  + {one.found.value}   because {one.by}")
            say(f"  {one.wrong}")
    wrong = sum(bool(one.wrong) for one in found)
    say(
        f"{len(found)} cases, {wrong} of them not as expected." if wrong else f"{len(found)} cases, all good."
    )


def _propose(found: Found, change: str) -> None:
    if change:
        typer.echo(change, nl=False)
    calls = "1 call that was" if found.decisions == 1 else f"{found.decisions} calls that were"
    say_error(
        f"From {calls} allowed. Nothing was written: read it, then apply it with "
        "patch, or by hand, and run penstock-agent policy test."
        if change
        else f"Nothing to propose: {found.decisions} calls were allowed in that time."
    )
    say_error("Rules about arguments are not proposed: the ledger has only hashes of them.")
    for item in found.left_out:
        say_error(f"Left out, since no entry would name just this: {printable(item, 100)}")


def _decisions(records: Iterable[Record]) -> Iterator[Dated]:
    """Those of them that are whole."""
    from datetime import UTC, datetime

    from penstock.principal import Principal
    from penstock_agent.ledger.entries import Decision, Verdict

    for one in records:
        if one.kind == "decision":
            with suppress(ValueError):
                said = one.who
                who = Principal(
                    said.issuer, said.subject, said.name, said.email, tuple(said.groups), said.client
                )
                verdict = Verdict(one.text("verdict"))
                yield (
                    datetime.fromisoformat(one.at).astimezone(UTC),
                    Decision(
                        "", one.text("server"), who, "", verdict, "", item=one.text("item"), of=one.text("of")
                    ),
                )
