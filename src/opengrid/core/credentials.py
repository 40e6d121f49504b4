"""Which files of a tree hold what signs somebody in, as far as their names tell."""

from __future__ import annotations

import re

#: What tools keep tokens, passwords and private keys in, and what people call a file that holds one. Names alone,
#: because everybody can foresee what they do; short, because each wrong guess hides somebody's code.
_NAMES = re.compile(
    r"""
    (?:[^/]*/)*
    (?:
      [^/]*\.env | \.env\.(?!(?:example|sample|template|dist)$)[^/]*  # variables, but not the form to be filled in
    | (?:[^/]*[-_.])?token(?:\.txt)?                                  # token, lab-token, hf_token.txt
    | \.netrc | \.git-credentials | \.pypirc | \.pgpass               # of curl and wandb, git, PyPI, PostgreSQL
    | credentials(?:\.json)? | kaggle\.json                           # of AWS, Google, Kaggle
    | id_(?:rsa|ecdsa|ed25519) | [^/]*\.(?:pem|key)                   # private keys
    )
    """,
    re.VERBOSE | re.DOTALL,
)


def is_credential(path: str) -> bool:
    """Return whether a file, by its name, holds a token, a password or a private key: nobody's but its owner's."""
    return _NAMES.fullmatch(path) is not None
