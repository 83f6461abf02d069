"""The records of what `--cache-latents` keeps: what rows are of, written before the first one."""

from __future__ import annotations

from dtrak_stream.support.records import RecordKind

FLAG = "--cache-latents"
_OTHERWISE, _UNREADABLE = "is no record of latents", f"give another folder as {FLAG}"

LATENTS = RecordKind(
    _OTHERWISE,
    if_unreadable=_UNREADABLE,
    if_another=f"{_UNREADABLE}, or what this one was begun with",
)
PROMPTS = RecordKind(_OTHERWISE, if_unreadable=_UNREADABLE, if_another="remove this folder")
