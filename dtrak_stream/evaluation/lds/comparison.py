"""Several scores files side by side: rule-chosen and oracle damping, never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dtrak_stream.evaluation.lds.judge import Judgement

# what makes two files differ in more than their damping
_RECIPE = (
    "method",
    "transform",
    "output_function",
    "timesteps",
    "noise",
    "noise_draws",
    "projector",
    "proj_dim",
    "seed",
    "train_fingerprint",
    "query_fingerprint",
)


@dataclass(frozen=True)
class DampingGroup:
    """Files that differ in their damping alone.

    Attributes
    ----------
    name
        What they have in common.
    rules
        Those whose damping a rule chose that knows no truth.
    oracle
        The one with the highest LDS on this very truth: an upper bound, not a result.
    members
        All of them, by damping.
    """

    name: str
    rules: tuple[Judgement, ...]
    oracle: Judgement
    members: tuple[Judgement, ...]

    @property
    def rule(self) -> Judgement | None:
        """Return the first of the rules' choices; None if there is none."""
        return self.rules[0] if self.rules else None


def damping_groups(judgements: Sequence[Judgement]) -> list[DampingGroup]:
    """Group files that have a damping; those of methods without one are left out."""
    groups: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if relative_damping(judgement) is not None:
            key = repr([judgement.attributes.get(name) for name in _RECIPE])
            groups.setdefault(key, []).append(judgement)
    return [_group(members) for members in groups.values()]


def relative_damping(judgement: Judgement) -> float | None:
    """Return lambda in units of the mean eigenvalue; None for a method without damping."""
    value = judgement.attributes.get("damping_relative")
    return float(value) if value is not None else None


def timestep_count(judgement: Judgement) -> int | None:
    """Return K, the number of timesteps of the features; None if the file does not say."""
    timesteps = judgement.attributes.get("timesteps")
    return len(str(timesteps).split(",")) if timesteps else None


def is_rule(damping: Any) -> bool:
    """Return whether a --damping is a rule such as `auto`, and not a number."""
    try:
        float(str(damping).rpartition(":")[2])
    except ValueError:
        return True
    return False


def described(judgement: Judgement) -> str:
    """Return what was scored, in a few words."""
    facts = judgement.attributes
    words = [str(facts["method"])]
    if facts.get("output_function"):
        words.append(f"f={facts['output_function']}")
    if timestep_count(judgement):
        words.append(f"K={timestep_count(judgement)}")
    if facts.get("noise"):
        words.append(f"{facts['noise']} noise")
    if facts.get("proj_dim"):
        words.append(f"k={facts['proj_dim']}")
    if facts.get("transform", "none") != "none":
        words.append(str(facts["transform"]))
    return ", ".join(words)


def _group(members: list[Judgement]) -> DampingGroup:
    by_damping = sorted(members, key=lambda member: relative_damping(member) or 0.0)
    rules = tuple(member for member in members if is_rule(member.attributes.get("damping")))
    return DampingGroup(
        described(members[0]),
        rules,
        max(members, key=lambda member: member.estimate.value),
        tuple(by_damping),
    )
