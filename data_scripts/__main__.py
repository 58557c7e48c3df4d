"""``python -m data_scripts``: list, download, verify and clean the public files of ``registry.toml``; backbones too."""

import shutil
import sys
from pathlib import Path

import click

from data_scripts.backbone_files import fetch_weights, weights_of
from data_scripts.backbones import BACKBONES, FRAMEWORKS
from data_scripts.cache import cache_location, readable_size
from data_scripts.download import bring, bring_folder, mirror_folder
from data_scripts.errors import DataError
from data_scripts.registry import PublicFile, lookup, read_registry


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Bring the public data and weights of the course to this machine.

    The quick profile needs none of it. WORKBOOK_CACHE names the folder where files are kept, WORKBOOK_MIRROR a folder
    that stands in for the download hosts.
    """


def _chosen(names: tuple[str, ...], every: bool) -> list[PublicFile]:
    if bool(names) == every:
        raise click.UsageError("name one file or more (see 'python -m data_scripts list'), or use --all")
    try:
        return list(read_registry().values()) if every else [lookup(name) for name in names]
    except DataError as error:
        raise click.UsageError(str(error)) from error


def _cached(file: PublicFile) -> Path:
    return cache_location() / "downloads" / file.name


@main.command("list")
def list_files() -> None:
    """Show every public file, what it is for, and whether it is here."""
    mirror = mirror_folder()
    for file in read_registry().values():
        if _cached(file).is_file():
            where = "cache"
        elif mirror and ((mirror / file.name).is_file() or (mirror / Path(file.name).stem).is_dir()):
            where = "mirror"
        else:
            where = "to download" if file.urls else "to get by hand"
        click.secho(f"{file.name} · {readable_size(file.size)} · {where}", bold=True)
        click.echo(f"    {file.purpose}\n    licence: {file.licence}")


@main.command("backbones")
def list_backbones() -> None:
    """Show every pre-trained network: which framework has it, where its weights come from, whether they are here."""
    folders: dict[str, Path] = {}
    for name, backbone in BACKBONES.items():
        norm = "batch norm" if backbone.batch_norm else "no batch norm"
        click.secho(f"{name} · pictures of {backbone.size} × {backbone.size} · {norm}", bold=True)
        offered = weights_of(name)
        for framework, spelt in FRAMEWORKS.items():
            (told,) = [str(one) for one in offered if one.framework == framework] or [f"{spelt}: –"]
            click.echo(f"    {told}")
        folders |= {one.origin.partition(",")[0]: one.folder for one in offered}
    click.secho("Kept in", bold=True)
    for origin, folder in folders.items():
        click.echo(f"    {origin}: {folder}")
    click.echo("Fetch one by its name: python -m data_scripts download NAME")


@main.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every file of the list that a program can download; no backbone's.")
@click.option("--unpack", is_flag=True, help="Unpack archives too, and say where.")
@click.option("--framework", type=click.Choice(list(FRAMEWORKS)), help="Of a backbone: only this one's weights.")
def download(names: tuple[str, ...], every: bool, unpack: bool, framework: str | None) -> None:
    """Bring the NAMED files into the cache, from the mirror folder or from their hosts, and check them.

    A name may also be a backbone's (see 'python -m data_scripts backbones'): its weights come for every framework
    that has it, each to the folder in which its library looks for them.
    """
    networks = [name for name in names if name in BACKBONES]
    failed = sum(not _bring_backbone(name, framework) for name in networks)
    names = tuple(name for name in names if name not in BACKBONES)
    for file in _chosen(names, every) if names or every or not networks else []:
        if every and not file.urls and mirror_folder() is None:
            click.echo(f"{file.name}: by hand only, from {file.page}")
            continue
        try:
            path = bring(file, progress=sys.stderr.isatty())
            if unpack and file.is_archive:
                path = bring_folder(file)
        except DataError as error:
            click.echo(str(error), err=True)
            failed += 1
        else:
            click.echo(f"{file.name}: {path}\n  licence: {file.licence}\n  cite: {file.citation}")
    if failed:
        raise SystemExit(1)


def _bring_backbone(name: str, framework: str | None) -> bool:
    """Bring the weights of a backbone and say where they are; return whether that worked for each framework."""
    worked = True
    wanted = [framework] if framework else [one.framework for one in weights_of(name)]
    for one in wanted:
        try:
            path = fetch_weights(name, one, progress=sys.stderr.isatty())
            (weights,) = [other for other in weights_of(name) if other.framework == one]
        except DataError as error:
            click.echo(str(error), err=True)
            worked = False
        else:
            told = f"{name}, {FRAMEWORKS[one]}: {path}\n  licence: {weights.licence}\n  cite: {weights.citation}"
            click.echo(told)
    return worked


@main.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Check the NAMED files in the cache, or all that are there, against their hashes."""
    files = _chosen(names, every=not names)
    there = [file for file in files if _cached(file).is_file()]
    wrong = [file for file in files if file not in there] if names else []
    for file in wrong:
        click.echo(f"{file.name}: not in the cache", err=True)
    for file in there:
        reason = file.why_not(_cached(file), from_mirror=True)
        click.echo(f"{file.name}: {reason or 'as it should be'}", err=bool(reason))
        wrong += [file] * bool(reason)
    if not there and not names:
        click.echo("no public file is in the cache")
    if wrong:
        click.echo(f"fetch {'it' if len(wrong) == 1 else 'them'} again: python -m data_scripts download NAME", err=True)
        raise SystemExit(1)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every public file, unpacked folder and partial download.")
def clean(names: tuple[str, ...], every: bool) -> None:
    """Delete the NAMED files from the cache, with what was unpacked from them and what is left of broken downloads."""
    freed = 0
    for file in _chosen(names, every):
        path = _cached(file)
        for found in (path, *(path.with_name(f"{path.name}{end}") for end in (".partial", ".partial.json", ".lock"))):
            if found.is_file():
                freed += found.stat().st_size
                found.unlink()
        for folder in (cache_location() / "unpacked").glob(f"{path.stem}-*"):
            if folder.is_dir():
                freed += sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
                shutil.rmtree(folder)
    click.echo(f"freed {readable_size(freed)}")


if __name__ == "__main__":
    main(prog_name="python -m data_scripts")
