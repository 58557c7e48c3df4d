"""``python -m workbook build``: notebooks from their paired text."""

import sys

import click


@click.command()
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("--check", is_flag=True, help="Execute nothing: report what disagrees or may not be committed.")
@click.option("--prose", is_flag=True, help="Execute nothing: take over changed prose where no code has changed.")
def build(notebooks: tuple[str, ...], check: bool, prose: bool) -> None:
    """Build notebooks from their text (all, or those named), executed at their default parameters.

    NOTEBOOK is a name such as 01_concepts, a number such as 1, or a path to the notebook or its text. A notebook
    that fails is reported and left as it was; the others are still built. The exit status is 1 if any failed.
    """
    # Imported here: papermill and jupytext take a second, and every other command would pay for them.
    from workbook.authoring.building import BuildError, build_pair, rewrite_prose
    from workbook.authoring.gate import pair_findings
    from workbook.authoring.pairing import PairingError, find_pairs, select_pairs

    if check and prose:
        raise click.UsageError("--check reports and --prose writes: choose one")
    try:
        pairs = select_pairs(find_pairs(), notebooks)
    except PairingError as error:
        raise click.UsageError(str(error)) from error
    failed = False
    for pair in pairs:
        if check:
            findings = pair_findings(pair)
            failed |= bool(findings)
            click.echo("\n".join(findings) or f"{pair.name}: agrees with its text")
            continue
        try:
            if prose:
                click.echo(f"{pair.name}: {rewrite_prose(pair)} cells of prose rewritten")
                continue
            click.echo(f"{pair.name}: running …")
            built = build_pair(pair)
        except BuildError as error:
            failed = True
            click.echo(f"not built:\n{error}", err=True)
        else:
            click.echo(f"{pair.name}: built, {built.claims} claims, {built.records} records, {built.seconds:.0f} s")
    if not pairs:
        click.echo("nothing to build: there is no text in chapters/source or solutions/source")
    sys.exit(int(failed))
