"""What can be checked before a server starts: what is broken ends it then, else its workers start over and over."""

from __future__ import annotations

import ipaddress

from serving.settings import Settings
from serving.source import open_bundle


def check_settings(settings: Settings) -> str:
    """What will be served, in words. Raises TidelineError if bundle, keys or the store's URL are broken."""
    from serving.access import find_keys
    from tideline.keys import read_keys

    bundle, version = open_bundle(settings)
    manifest = bundle.manifest
    simulated = ", trained on SIMULATED data" if manifest.provenance.get("simulated") else ""
    lines = [f"{manifest.task}: {manifest.model} {version}{simulated}"]
    if settings.log:
        from serving.log import find_store

        lines.append(f"log in {find_store(settings).place}" + (", with a journal" if settings.journal else ""))
    else:
        lines.append("predictions are NOT logged")
    is_guarded = read_keys(find_keys(settings).file) is not None
    if not is_guarded and not settings.open and not ipaddress.ip_address(settings.host).is_loopback:
        lines.append("no API key was made: only this machine is answered (`tideline keys add NAME`)")
    return "; ".join(lines)
