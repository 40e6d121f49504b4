"""core.credentials: which files are taken for credentials, and which are not."""

from __future__ import annotations

import pytest

from opengrid.core.credentials import is_credential
from opengrid.core.names import named


@pytest.mark.parametrize(
    "path",
    [
        ".env", "sub/.env", ".env.local", "prod.env", "token", "opengrid-token", "a b/hf_token.txt", "lab.token",
        ".netrc", ".git-credentials", ".pypirc", ".aws/credentials", "credentials.json", "kaggle.json",
        ".ssh/id_ed25519", "key.pem", "server.key", "new\nline/.env",
    ],
)  # fmt: skip
def test_files_that_tools_and_people_keep_tokens_and_keys_in_are_credentials(path: str) -> None:
    assert is_credential(path)


@pytest.mark.parametrize(
    "path",
    [
        "train.py", ".env.example", ".env.template", "env.py", "token.py", "tokens.txt", "tokenizer.json", "token/a.py",
        "tokenizer", "monkey", "keys.py", "id_rsa.pub", "environment.yml", "credentials.py", ".envrc/readme.md",
    ],
)  # fmt: skip
def test_code_and_forms_to_be_filled_in_are_none(path: str) -> None:
    assert not is_credential(path)


def test_of_many_only_the_first_are_told() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
