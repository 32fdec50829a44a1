"""``penstock-agent``: the commands of the agent. One module per command; heavy imports inside them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from penstock import __version__
from penstock_agent.cli import (
    approvals,
    capture,
    check,
    console,
    doctor,
    expose,
    harden,
    importing,
    join,
    ledger,
    pause,
    policy,
    prepare,
    renew,
    review,
    run,
    servers,
    status,
    tainted,
    tools,
    top,
)

app = typer.Typer(
    name="penstock-agent",
    help="Lets the MCP servers of this site be used from the cloud: only what is exposed, only outbound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tools_app = typer.Typer(
    no_args_is_help=True, help="Look at what servers offer, and approve what has changed."
)
approvals_app = typer.Typer(no_args_is_help=True, help="Answer the calls that wait for approval.")
policy_app = typer.Typer(no_args_is_help=True, help="Who may use what: the rules of agent.toml.")
ledger_app = typer.Typer(no_args_is_help=True, help="Read and verify the record of what left the site.")
capture_app = typer.Typer(no_args_is_help=True, help="Payload that is kept on site, sealed.")
servers_app = typer.Typer(no_args_is_help=True, help="Look after the servers of agent.toml.")
config_app = typer.Typer(no_args_is_help=True, help="Look after agent.toml.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("join")(join.join)
app.command("run")(run.run)
app.command("import")(importing.import_)
app.command("expose")(expose.expose)
app.command("hide")(expose.hide)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("console")(console.console)
app.command("top")(top.top)
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.command("renew")(renew.renew)
servers_app.command("list")(servers.list_servers)
servers_app.command("test")(servers.try_server)
servers_app.command("add")(servers.add)
servers_app.command("prepare")(prepare.prepare)
servers_app.command("harden")(harden.harden)
servers_app.command("accept")(servers.accept)
servers_app.command("remove")(servers.remove)
app.add_typer(servers_app, name="servers")
tools_app.command("list")(tools.list_tools)
tools_app.command("lint")(tools.lint)
tools_app.command("review")(review.review)
tools_app.command("approve")(review.approve)
app.add_typer(tools_app, name="tools")
approvals_app.command("list")(approvals.list_approvals)
approvals_app.command("show")(approvals.show)
approvals_app.command("approve")(approvals.approve)
approvals_app.command("deny")(approvals.deny)
app.add_typer(approvals_app, name="approvals")
policy_app.command("explain")(policy.explain)
policy_app.command("test")(policy.try_cases)
policy_app.command("suggest")(policy.suggest)
policy_app.command("tainted")(tainted.tainted)
policy_app.command("untaint")(tainted.untaint)
app.add_typer(policy_app, name="policy")
ledger_app.command("report")(ledger.report)
ledger_app.command("show")(ledger.show)
ledger_app.command("verify")(ledger.verify)
ledger_app.command("export")(ledger.export)
app.add_typer(ledger_app, name="ledger")
capture_app.command("keygen")(capture.keygen)
capture_app.command("open")(capture.open_)
app.add_typer(capture_app, name="capture")
config_app.command("check")(check.check)
app.add_typer(config_app, name="config")


def main() -> None:
    """The console script. Never shows a stack trace; the exit statuses are those of ``problem.Exit``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as e:
        # An error of ours. Its text may hold what must not be shown, so only its kind and place are told.
        place = ""
        trace = e.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if "penstock" in code.co_filename:
                place = f" at {code.co_qualname}:{trace.tb_lineno}"
            trace = trace.tb_next
        typer.echo(
            f"penstock-agent {__version__}: internal error ({type(e).__name__}{place}). "
            "This is a bug; please report this line.",
            err=True,
        )
        sys.exit(1)
