"""Versions beside the champion: a canary answers a share of the requests, a shadow predicts and never answers.

They challenge one champion: when another version becomes champion, or an older one again, the trial is over for all of
them. Every act is recorded in the ledger with its reason, like a promotion (registry.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from tideline.bookkeeping import PATIENCE, ledger_file, settle, writing
from tideline.bundle import Bundle, load_bundle
from tideline.champion import find_version, store_version, versions_folder
from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.ledger import append_entry
from tideline.lineage.kept import keep_lineage
from tideline.live_parity import write_parity
from tideline.params import Params
from tideline.places import share_out
from tideline.pointer import Challenger, ChallengerRole, Margins, Pointer, RouterKind, move_pointer, read_pointer
from tideline.progress import stage
from tideline.succession import CANARY, ENDED, PROMOTED, ROUTED, WITHDRAWN, check_moved, check_withdrawn
from tideline.verdict import REFUSED, Verdict


def challenge(
    task: Task,
    params: Params,
    layout: Layout,
    role: ChallengerRole,
    share: float = 0.0,
    version: str | None = None,
    told: Mapping[str, Any] | None = None,
    against: str | None = None,
) -> Verdict:
    """Set the built bundle, or a version of the registry, beside the champion.

    A canary has to pass the gate, except that it may be as good as the champion as far as noise tells. A shadow needs
    no gate. `share` of the requests is a canary's; asked again, it gets another share. told: joins the recorded
    evidence. against: the champion that it was made to succeed; if another one is by now, it is refused. Raises
    TidelineError if there is no champion, a bundle is broken, the shares exceed 1, the holdout is
    absent, or the registry is damaged or held.
    """
    with stage(role, task.name) as log, writing(layout):
        entries = settle(layout)
        pointer = _read_champion(layout)
        bundle = load_bundle(versions_folder(layout) / find_version(layout, version) if version else layout.bundle)
        if bundle.digest == pointer.digest:
            raise TidelineError(f"{pointer.version} is champion, it cannot challenge itself; train another")
        others = tuple(c for c in pointer.challengers if c.digest != bundle.digest)
        present = next((c for c in pointer.challengers if c.digest == bundle.digest), None)
        _check_share(role, share, others)
        from tideline.gate import judge, read_holdout

        evidence: dict[str, Any] = {**(told or {}), "share": share, "champion_version": pointer.version}
        reasons = [*check_moved(pointer, against), *check_withdrawn(entries, bundle.digest)]
        if role == "canary" and (present is None or present.role != "canary"):
            champion = load_bundle(versions_folder(layout) / pointer.version)
            judgement = judge(task, params, layout, bundle, champion, on_trial=True)
            reasons, evidence = [*judgement.reasons, *reasons], {**judgement.evidence, **evidence}
        if reasons:
            append_entry(ledger_file(layout), REFUSED, "", bundle.digest, reasons, evidence)
            log.say(f"refused: {'; '.join(reasons)}")
            return Verdict(REFUSED, "", bundle.digest, tuple(reasons), evidence)
        name = store_version(layout, bundle)
        write_parity(layout, name, bundle, read_holdout(task, layout).frame, params.export, params.seed)
        evidence["lineage"] = keep_lineage(layout, name, bundle)
        entry = append_entry(ledger_file(layout), role, name, bundle.digest, (), evidence)
        since = present.since if present and present.role == role else time.time_ns() // 1000
        challenger = Challenger(name, bundle.digest, role, share, since, entry.seq, read_margins(params))
        move_pointer(layout, _set_challenger(pointer, challenger))
        log.say(f"{name} is {role} beside {pointer.version}" + (f", for {share:.0%}" if role == "canary" else ""))
        return Verdict(role, name, bundle.digest, (), evidence)


def end_trial(
    layout: Layout,
    version: str,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    withdrawn: bool = False,
    since: int | None = None,
    patience: float = PATIENCE,
) -> Verdict:
    """Take a challenger out. If it is `withdrawn` for what it did live, its bundle is not offered again.

    since: when the trial began that is meant (µs since 1970-01-01 UTC): what was seen in one ends no other. Raises
    TidelineError if it is no challenger, or not since then, or another writes for longer than `patience` seconds.
    """
    with writing(layout, patience):
        settle(layout)
        pointer = _read_champion(layout)
        challenger = _find_challenger(layout, pointer, version)
        if since not in (None, challenger.since):
            raise TidelineError(f"{challenger.version} was offered again meanwhile: its present trial goes on")
        action = WITHDRAWN if withdrawn else ENDED
        reasons = [reason] if reason else []
        name, digest = challenger.version, challenger.digest
        entry = append_entry(ledger_file(layout), action, name, digest, reasons, evidence)
        rest = tuple(c for c in pointer.challengers if c != challenger)
        router: RouterKind = pointer.router if any(c.role == "canary" for c in rest) else "split"
        move_pointer(layout, msgspec.structs.replace(pointer, seq=entry.seq, challengers=rest, router=router))
        return Verdict(action, name, digest, tuple(reasons), dict(evidence or {}))


def promote_canary(
    layout: Layout,
    version: str,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    patience: float = PATIENCE,
) -> Verdict:
    """Make a canary champion: it has passed the gate, and what it did live is the `evidence`. All trials end.

    Raises TidelineError if it is no canary, or another writes for longer than `patience` seconds.
    """
    with writing(layout, patience):
        settle(layout)
        pointer = _read_champion(layout)
        canary = _find_challenger(layout, pointer, version)
        if canary.role != "canary":
            raise TidelineError(
                f"{canary.version} is a shadow: it did not pass the gate; `tideline canary {layout.task} "
                f"--version {canary.version}` offers it"
            )
        _load_version(layout, canary)
        others = [c for c in pointer.challengers if c != canary]
        told = {**(evidence or {}), "from": pointer.version, "canary": canary.seq, "ended": [c.version for c in others]}
        entry = append_entry(
            ledger_file(layout), PROMOTED, canary.version, canary.digest, [reason] if reason else [], told
        )
        move_pointer(layout, Pointer(canary.version, canary.digest, entry.seq))
        return Verdict(PROMOTED, canary.version, canary.digest, entry.reasons, told)


def set_share(
    layout: Layout,
    version: str,
    share: float,
    evidence: Mapping[str, Any] | None = None,
    patience: float = PATIENCE,
) -> Verdict:
    """Give a canary another share of the requests.

    Raises TidelineError if it is none, the shares exceed 1, or another writes for longer than `patience` seconds.
    """
    with writing(layout, patience):
        settle(layout)
        pointer = _read_champion(layout)
        canary = _find_challenger(layout, pointer, version)
        if canary.role != "canary":
            raise TidelineError(f"{canary.version} is a shadow: it answers nobody, and has no share")
        others = tuple(c for c in pointer.challengers if c != canary)
        _check_share("canary", share, others)
        told = {**(evidence or {}), "share": share, "champion_version": pointer.version}
        entry = append_entry(ledger_file(layout), CANARY, canary.version, canary.digest, (), told)
        move_pointer(layout, _set_challenger(pointer, msgspec.structs.replace(canary, share=share, seq=entry.seq)))
        return Verdict(CANARY, canary.version, canary.digest, (), told)


def set_router(layout: Layout, router: RouterKind) -> Verdict:
    """Share requests among champion and canaries by their shares (`split`), or by what labels tell (`bandit`).

    Raises TidelineError if a bandit has no canary to choose.
    """
    with writing(layout):
        settle(layout)
        pointer = _read_champion(layout)
        if router == "bandit" and not any(c.role == "canary" for c in pointer.challengers):
            raise TidelineError(
                f"{layout.task} has no canary, a bandit nothing to choose; `tideline canary {layout.task}` sets one up"
            )
        entry = append_entry(ledger_file(layout), ROUTED, pointer.version, pointer.digest, (), {"router": router})
        move_pointer(layout, msgspec.structs.replace(pointer, seq=entry.seq, router=router))
        return Verdict(ROUTED, pointer.version, pointer.digest, (), {"router": router})


def read_margins(params: Params) -> Margins:
    """The margins of params.yaml, as they travel with a challenger."""
    rollout = params.rollout
    return Margins(rollout.error, rollout.latency, rollout.failures, rollout.confidence, rollout.least)


def _set_challenger(pointer: Pointer, changed: Challenger) -> Pointer:
    """The pointer with that challenger in its place, or behind the others; all others keep their sticky keys."""
    placed = _place(pointer.challengers)
    if any(c.digest == changed.digest for c in placed):
        replaced = tuple(
            msgspec.structs.replace(changed, places=c.places) if c.digest == changed.digest else c for c in placed
        )
    else:
        replaced = (*placed, changed)
    return msgspec.structs.replace(pointer, seq=changed.seq, challengers=_place(replaced))


def _place(challengers: tuple[Challenger, ...]) -> tuple[Challenger, ...]:
    places = share_out((c.places, c.share) for c in challengers)  # a shadow's share is 0
    pairs = zip(challengers, places, strict=True)
    return tuple(msgspec.structs.replace(c, places=own) for c, own in pairs)


def _read_champion(layout: Layout) -> Pointer:
    pointer = read_pointer(layout)
    if pointer is None:
        raise TidelineError(
            f"{layout.task} has no champion to challenge; promote one: `tideline promote {layout.task}`"
        )
    return pointer


def _find_challenger(layout: Layout, pointer: Pointer, version: str) -> Challenger:
    challenger = pointer.find(find_version(layout, version))
    if challenger is None:
        there = ", ".join(f"{c.version} ({c.role})" for c in pointer.challengers) or "none"
        raise TidelineError(f"{version} does not challenge {pointer.version}; challengers: {there}")
    return challenger


def _load_version(layout: Layout, challenger: Challenger) -> Bundle:
    bundle = load_bundle(versions_folder(layout) / challenger.version)
    if bundle.digest != challenger.digest:
        raise TidelineError(f"{bundle.path} has digest {bundle.digest}, but {challenger.digest} was offered")
    return bundle


def _check_share(role: ChallengerRole, share: float, others: tuple[Challenger, ...]) -> None:
    if role == "shadow":
        return
    if not 0 < share <= 1:
        raise TidelineError(f"a canary's share is {share:g}; expected a number above 0, at most 1")
    taken = sum(c.share for c in others)
    if taken + share > 1:
        raise TidelineError(f"other canaries have {taken:.0%} already: {share:.0%} more is above 100 %")
