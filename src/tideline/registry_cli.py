"""The verbs of the registry: promote, rollback, canary, shadow, end, router, live, status, history."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tideline import catalog
from tideline.contracts import TidelineError
from tideline.layout import Layout

if TYPE_CHECKING:
    from tideline.verdict import Verdict


def add_registry_verbs(verbs: Any) -> None:
    """Add them to the parser's verbs."""
    command = _add(verbs, "promote", "make the bundle champion if it passes the gate", _promote)
    command.add_argument("--version", help="a canary, which has passed it")
    command = _add(verbs, "rollback", "point back to the previous champion, or to a named version", _rollback)
    command.add_argument("version", nargs="?", help="version to go back to")
    command.add_argument("--to", metavar="VERSION", help="the same")
    command.add_argument("--all", action="store_true", help="params.yaml, dvc.lock and the task's data, too")
    command.add_argument("--reason", default="", help="kept in the ledger")
    command = _add(verbs, "canary", "let the bundle answer a share of the requests if it passes the gate", _canary)
    command.add_argument("--version", help="a version of the registry instead of the built bundle")
    command.add_argument("--share", type=float, help="of the requests, 0 to 1 (params.yaml: rollout.share)")
    command = _add(verbs, "shadow", "let the bundle predict beside the champion, and never answer", _shadow)
    command.add_argument("--version", help="a version of the registry instead of the built bundle")
    command = _add(verbs, "end", "end the trial of a canary or shadow", _end)
    command.add_argument("version")
    command.add_argument("--reason", default="", help="kept in the ledger")
    command = _add(verbs, "router", "share requests by the canaries' shares, or by what labels tell", _router)
    command.add_argument("router", choices=("split", "bandit"))
    _add(verbs, "live", "compare the versions by what they did live", _live)
    _add(verbs, "status", "show the champion, its challengers and the versions", _status)
    _add(verbs, "history", "show the ledger", _history)


def _add(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    command.add_argument("task")
    command.set_defaults(run=run)
    return command


def _promote(arguments: argparse.Namespace) -> int:
    if arguments.version:
        from tideline.live_report import describe_trial
        from tideline.rollout import promote_canary

        layout = _find_layout(arguments)
        evidence = {"live": describe_trial(layout, arguments.version)}
        return _tell(promote_canary(layout, arguments.version, evidence=evidence))
    from tideline.params import load_params
    from tideline.registry import promote

    task = catalog.get_task(arguments.task)
    return _tell(promote(task, load_params(), Layout(task.name)))


def _rollback(arguments: argparse.Namespace) -> int:
    from tideline.registry import rollback

    if arguments.version and arguments.to and arguments.version != arguments.to:
        raise TidelineError(f"two versions are named, {arguments.version} and {arguments.to}; name one")
    layout, version = _find_layout(arguments), arguments.version or arguments.to
    if not arguments.all:
        return _tell(rollback(layout, version, arguments.reason))
    from tideline.lineage.restore import restore
    from tideline.registry_view import describe_restored

    restored = restore(layout, version, arguments.reason)
    print(describe_restored(layout, restored.version, restored.kept, restored.code))
    return _tell(restored.verdict)


def _canary(arguments: argparse.Namespace) -> int:
    from tideline.params import load_params
    from tideline.rollout import challenge

    task, params = catalog.get_task(arguments.task), load_params()
    share = params.rollout.share if arguments.share is None else arguments.share
    return _tell(challenge(task, params, Layout(task.name), "canary", share, arguments.version))


def _shadow(arguments: argparse.Namespace) -> int:
    from tideline.params import load_params
    from tideline.rollout import challenge

    task = catalog.get_task(arguments.task)
    return _tell(challenge(task, load_params(), Layout(task.name), "shadow", version=arguments.version))


def _end(arguments: argparse.Namespace) -> int:
    from tideline.live_report import describe_trial
    from tideline.rollout import end_trial

    layout = _find_layout(arguments)
    evidence = {"live": describe_trial(layout, arguments.version)}
    return _tell(end_trial(layout, arguments.version, arguments.reason, evidence))


def _router(arguments: argparse.Namespace) -> int:
    from tideline.rollout import set_router

    return _tell(set_router(_find_layout(arguments), arguments.router))


def _live(arguments: argparse.Namespace) -> None:
    from tideline.live_report import describe_live

    print(describe_live(_find_layout(arguments)))


def _status(arguments: argparse.Namespace) -> None:
    from tideline.registry_view import describe_status

    print(describe_status(_find_layout(arguments)))


def _history(arguments: argparse.Namespace) -> None:
    from tideline.registry_view import describe_history

    print(describe_history(_find_layout(arguments)))


def _find_layout(arguments: argparse.Namespace) -> Layout:
    return Layout(catalog.get_task(arguments.task).name)


def _tell(verdict: Verdict) -> int:
    from tideline.registry_view import describe_verdict

    print(describe_verdict(verdict))
    return 0 if verdict.accepted else 1
