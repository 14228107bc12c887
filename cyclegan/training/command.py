"""The command that a run was begun with, as a record may keep it: without what nobody else should read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)  # in the name of a variable
_SHORTEST = 8  # characters; a shorter value would be found in words that have nothing to do with it


def without_secrets(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """`words` with `$NAME` in place of whatever stands in a variable of the environment that is called like a secret.

    No option of ours takes a secret, but a shell has put one in where somebody wrote `$WANDB_API_KEY` by mistake.
    """
    secrets = [(value, name) for name, value in environment.items() if _SECRET.search(name) and len(value) >= _SHORTEST]
    told = list(words)
    for value, name in sorted(secrets, key=lambda pair: -len(pair[0])):  # the longest first: one may hold another
        told = [word.replace(value, f"${name}") for word in told]
    return told
