#!/usr/bin/env python3
"""Feeds the record of a minigpt run to Weights & Biases.

    pip install wandb
    python3 tools/wandb/minigpt_wandb.py runs/stories                    # offline: into runs/stories/wandb
    wandb sync runs/stories/wandb/offline-run-*                          # to a server, when wanted
    python3 tools/wandb/minigpt_wandb.py runs/stories --online --project stories

Every line of metrics.jsonl becomes a step with all its numbers, config.toml the configuration,
and the lowest validation loss the summary. A line that a crash cut short is left out. The run may
still be training: what its record holds by now is fed.
"""

import argparse
import json
import pathlib
import sys
import tomllib


def read_record(path):
    """The whole lines of a record, as dictionaries."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SystemExit(f"cannot read {path}: {error.strerror}; give the directory of a run")
    lines = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            values = json.loads(line)
            values["step"]
        except (ValueError, KeyError, TypeError):
            raise SystemExit(f"{path}, line {number}: not a line of a record; take that line out")
        lines.append(values)
    return lines


def read_settings(path):
    """The settings of a run, as nested dictionaries."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SystemExit(f"cannot read {path}: {error.strerror}; give the directory of a run")
    except tomllib.TOMLDecodeError as error:
        raise SystemExit(f"{path}: {error}; correct that file")


def main():
    parser = argparse.ArgumentParser(description="Feeds a minigpt run to Weights & Biases.")
    parser.add_argument("run", type=pathlib.Path, help="run directory of minigpt train")
    parser.add_argument("--project", default="minigpt", help="project of Weights & Biases")
    parser.add_argument("--name", help="name of the run there [default: that of the directory]")
    parser.add_argument("--online", action="store_true", help="send it now instead of keeping it")
    args = parser.parse_args()
    settings = read_settings(args.run / "config.toml")
    record = read_record(args.run / "metrics.jsonl")
    try:
        import wandb
    except ImportError:
        raise SystemExit("the package wandb is not installed; to get it: pip install wandb")
    run = wandb.init(
        project=args.project,
        name=args.name or args.run.resolve().name,
        config=settings,
        dir=args.run,
        mode="online" if args.online else "offline",
    )
    run.define_metric("val_loss", summary="min")
    run.define_metric("val_bits_per_byte", summary="min")
    for line in record:
        step = line.pop("step")
        run.log(line, step=step)
    run.finish()
    print(f"{len(record)} lines fed to Weights & Biases", file=sys.stderr)


if __name__ == "__main__":
    main()
