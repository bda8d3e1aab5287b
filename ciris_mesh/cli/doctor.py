"""`doctor`: what is wrong here, and which command helps. It changes nothing."""

from __future__ import annotations

import click

from ciris_mesh.cli.app import App, print_json
from ciris_mesh.cli.verbs import Verb


@click.command(cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.option("--check", is_flag=True, help="Exit with 1 when something warns or fails.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool, check: bool) -> None:
    """Look for what is wrong with this machine and node, and say which command helps.

    A line a check: ok, note, warn, fail or skip. Nothing is changed, no port is opened, and it
    takes less than five seconds. `ciris-mesh explain NAME` says more about each.
    """
    from ciris_mesh.doctor.checks import SCHEMA, examine, is_healthy
    from ciris_mesh.doctor.gather import gather
    from ciris_mesh.runtime.home import find_home

    app: App = ctx.obj
    facts = gather(find_home(app.config_dir), app.rns_config_dir)
    findings = examine(facts)
    healthy = is_healthy(findings)
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "version": facts.version,
                "home": facts.home,
                "healthy": healthy,
                "checks": [
                    {
                        "name": each.name,
                        "word": each.word.value,
                        "text": each.text,
                        "command": app.hinted_command(each.command),
                    }
                    for each in findings
                ],
            }
        )
    else:
        from ciris_mesh.ui.doctor import doctor_lines

        for line, style in doctor_lines(findings, app.hinted_command):
            click.echo(click.style(line, fg=style) if style else line)
    if check and not healthy:
        ctx.exit(1)
