"""`dlx trust`: say whose directories may bring code of their own."""

from pathlib import Path

import click

from dlx.config.trusted import distrust, find_state_file, list_trusted, trust
from dlx.errors import UsageError


@click.command("trust")
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--list", "as_list", is_flag=True, help="Print the trusted directories.")
@click.option("--remove", is_flag=True, help="Trust DIR no longer.")
def command(directory: Path | None, as_list: bool, remove: bool) -> None:
    """Let the configurations in DIR/conf build the classes of DIR's own modules.

    dlx trusts a directory once you have trained in it. In one that came from somebody else, read its code first. DIR
    alone is trusted, not what lies below it.
    """
    from dlx.terminal import terminal

    if as_list:
        if directory is not None or remove:
            raise UsageError("--list was given with more; needed: dlx trust --list alone")
        for path in list_trusted():
            terminal.print_line(path)
        return
    if directory is None:
        raise UsageError("dlx trust was given no directory; needed: one, such as dlx trust .")
    if not remove and not directory.is_dir():
        raise UsageError(f"dlx trust {directory} was given; needed: a directory")
    try:
        if not remove:
            trust(directory)
        elif not distrust(directory):
            raise UsageError(f"{directory.resolve()} is not trusted; type dlx trust --list to see what is")
    except OSError as error:
        raise UsageError(f"{find_state_file()} cannot be written ({error.strerror}); needed: a writable one") from error
    terminal.print_note(f"{directory.resolve()} is {'no longer ' if remove else ''}trusted")
