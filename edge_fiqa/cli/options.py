"""Flags that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import BACKENDS
from edge_fiqa.engines import cores as cores
from edge_fiqa.engines.forms import open_form
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import RULES
from edge_fiqa.policies.policy import Budget, Convergence, Deadline, Fixed, Policy

USUAL_FUSION = "FW"
USUAL_MODEL = "nano"
POLICIES = ("fixed", "convergence", "gate", "budget", "deadline")


def usual(stated: str | None, value: str) -> str:
    """`value` where a flag was not given. An empty one, of an unset shell variable, was given."""
    return value if stated is None else stated


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle", default="nano", metavar="DIR", help="or a shipped model: nano (default), small"
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, help="library that computes (default: the bundle's)"
    )
    add_precision_argument(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of one engine")


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("int8", "fp32"),
        help="of a shipped model (default: the one that is fastest on this processor)",
    )


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("when to stop (several of these compose)")
    group.add_argument(
        "--policy", choices=POLICIES, help="default: what the flags below imply, else full depth"
    )
    group.add_argument(
        "--gate", type=int, metavar="Q", help="mark faces of quality >= Q as accepted"
    )
    group.add_argument(
        "--risk", type=float, metavar="R", help="gate: allowed rate of decisions unlike full depth"
    )
    group.add_argument(
        "--ranked",
        nargs="?",
        type=int,
        const=0,
        metavar="Q",
        help="gate: faces below Q (default: the gate) run to full depth, so that they can be sorted",
    )
    group.add_argument("--exit", type=int, metavar="K", help="fixed: stop after block K")
    group.add_argument(
        "--budget-ms", type=float, metavar="MS", help="deepest exit predicted to fit"
    )
    group.add_argument("--budget-gflops", type=float, metavar="G", help="deepest exit that fits")
    group.add_argument(
        "--budget-mj", type=float, metavar="MJ", help="deepest exit predicted to fit"
    )
    group.add_argument("--deadline-ms", type=float, metavar="MS", help="answer with what is there")
    group.add_argument(
        "--eps", type=float, help="convergence: largest move that counts as still (0.05)"
    )
    group.add_argument(
        "--patience", type=int, metavar="P", help="convergence: that often in a row (2)"
    )
    group.add_argument("--all-exits", action="store_true", help="full depth, and show every exit")
    group.add_argument(
        "--fusion", help=f"{', '.join(RULES)}, or one weight per exit (default: {USUAL_FUSION})"
    )


def check_none_given(options: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """Raise ConfigError for the first of these flags that was given: it would do nothing.

    A flag that this is asked of has no default: None, or False for one without a value.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value is not False:  # 0 was given
            raise ConfigError(f"--{name.replace('_', '-')} {reason}")


def open_bundle(options: argparse.Namespace, threads: int | None = None) -> Bundle:
    """threads: of one engine, where the flags do not say it."""
    return open_form(
        options.bundle,
        threads=options.threads or threads,
        precision=options.precision,
        backend=options.backend,
    )


def policies_of(options: argparse.Namespace, depth: int) -> list[Policy]:
    """Return the policies that the flags ask for, of a model of `depth` blocks.

    Raises ConfigError where flags contradict each other.
    """
    given = {name for name in OWNERS if getattr(options, name) is not None}
    _check_owners(options, given)
    if options.all_exits:
        return _every_exit(options, given, depth)
    missing = NEEDED.get(options.policy, "")
    if missing and options.policy not in {OWNERS[name] for name in given}:
        raise ConfigError(f"--policy {options.policy} needs {missing}")
    policies: list[Policy] = []
    if options.exit is not None:
        policies.append(Fixed(options.exit))
    budget = (options.budget_ms, options.budget_gflops, options.budget_mj)
    if any(limit is not None for limit in budget):
        policies.append(Budget(*budget))
    if "eps" in given or "patience" in given or options.policy == "convergence":
        stated = {key: getattr(options, key) for key in ("eps", "patience") if key in given}
        policies.append(Convergence(**stated))
    if options.deadline_ms is not None:
        policies.append(Deadline(options.deadline_ms))
    return policies or [Fixed()]


def _check_owners(options: argparse.Namespace, given: Collection[str]) -> None:
    """Raise ConfigError where a flag is of another policy than the stated one."""
    if options.policy != "gate":
        check_none_given(options, ("risk", "ranked"), "is about --policy gate, which is not given")
    for name in sorted(given):
        if not _belongs(OWNERS[name], options.policy):
            flag = name.replace("_", "-")
            raise ConfigError(
                f"--{flag} is about --policy {OWNERS[name]}, --policy {options.policy} is given"
            )


def _every_exit(options: argparse.Namespace, given: Collection[str], depth: int) -> list[Policy]:
    """Return full depth. `--exit` with the last block says the same and is no contradiction."""
    if set(given) - {"exit"} or options.policy not in (None, "fixed"):
        raise ConfigError("--all-exits runs to full depth and takes no stopping policy")
    if options.exit not in (None, depth):
        raise ConfigError(
            f"--all-exits runs to full depth, {depth}; --exit {options.exit} does not"
        )
    return [Fixed()]


def _belongs(owner: str, policy: str | None) -> bool:
    """Say whether a flag of `owner` may stand beside --policy.

    Limits on depth compose with any policy but fixed. Convergence stands alone: beside it the gate's
    promise would not hold.
    """
    return policy in (None, owner) or (owner != "convergence" and policy != "fixed")


OWNERS = {
    "exit": "fixed",
    "budget_ms": "budget",
    "budget_gflops": "budget",
    "budget_mj": "budget",
    "deadline_ms": "deadline",
    "eps": "convergence",
    "patience": "convergence",
}
"""Flag -> the policy that it is about."""

POLICY_FLAGS = ("policy", "gate", "risk", "ranked", *OWNERS, "all_exits", "fusion")
"""What `add_policy_arguments` adds."""

NEEDED = {"budget": "--budget-ms, --budget-gflops or --budget-mj", "deadline": "--deadline-ms"}
"""Policy -> the flags without which it means nothing."""
