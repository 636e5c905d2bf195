"""The command `adfd`: its first argument names a command, by default "edit". `adfd --help` lists the commands."""

from __future__ import annotations

import sys
from importlib import import_module

from adfd.basics.errors import command

COMMANDS = {
    "edit": ("adfd.__main__", "photos -> a run directory; what adfd does when no command is named"),
    "prepare": ("adfd.prepare", "photos -> aligned crops and inverted latents, ahead of time"),
    "analyze": ("adfd.analyze", "generator -> which channels depend on age, which on identity"),
    "distill": ("adfd.distill", "generator -> its draft, a thin network on which photos are inverted"),
    "evaluate": ("adfd.evaluate", "run directories -> metrics, tables and figures"),
    "page": ("adfd.page", "a run or sweep -> one page to look at, also while it runs: adfd page SWEEP --live"),
    "app": ("adfd.app", "a page to try it on your own photo, in the browser; needs pip install adfd[app]"),
    "export": ("adfd.export", "export onnx: the networks as ONNX files, compared with torch"),
    "gpu-check": ("adfd.gpu_check", "a GPU against the CPU: agreement, precisions, speed by batch size"),
    "dashboard": ("adfd.dashboard", "a sweep -> its overview, workspace and report in W&B"),
    "weights": ("adfd.weights", "what weights there are and where; fetches what is missing"),
}


@command
def main() -> int:
    """Run the command named first in `sys.argv`, with the remaining arguments; returns the exit code."""
    name, *rest = sys.argv[1:] or ["edit"]
    if name in ("help", "-h", "--help"):
        print(overview())
        return 0
    if name not in COMMANDS:
        if "=" not in name and not name.startswith(("-", "+", "~")):
            print(f"error: adfd has no command {name}; it has {', '.join(COMMANDS)}", file=sys.stderr)
            return 2
        name, rest = "edit", sys.argv[1:]
    sys.argv = ["adfd" if name == "edit" else f"adfd {name}", *rest]
    made = import_module(COMMANDS[name][0]).main()
    shell = ("weights", "dashboard", "page", "app", "gpu-check")
    return made if name in shell else 0  # a stage's return value is for Hydra's sweeper, not an exit code


def overview() -> str:
    """The help page: one line per command."""
    lines = [f"  adfd {name:<10} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "Diverse, identity-preserving face ageing.",
            "",
            *lines,
            "",
            "  adfd data=folder data.path=PHOTOS target_age=[30,70]      edits your photos",
            "  adfd -m target_age=10,30,50,80 loss.aging=1,5,10 refine=long   a sweep",
            "  adfd --config-dir=MINE experiment=NAME                    with MINE/experiment/NAME.yaml",
            "",
            "adfd COMMAND --help lists all that can be set. Runs write to outputs/, weights lie in $ADFD_CACHE.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
