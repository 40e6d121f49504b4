"""planning.patches: what is told of a patch applies, and what is private is only named."""

from __future__ import annotations

from opengrid.planning.patches import without_secrets

PATCH = """only in the bundle: ".env" (3 B)
diff --git a/train.py b/train.py
index 1..2 100644
--- a/train.py
+++ b/train.py
@@ -1 +1 @@
-old
+new
diff --git "a/my \\303\\244keys.py" "b/my \\303\\244keys.py"
new file mode 100644
index 0..3
--- /dev/null
+++ "b/my \\303\\244keys.py"
@@ -0,0 +1,2 @@
+diff --git a/train.py b/train.py
+hunter2
"""


def test_a_private_file_is_named_and_the_others_are_as_they_were() -> None:
    assert without_secrets(PATCH, lambda file: "hunter2" in file) == (
        'only in the bundle: ".env" (3 B)\n'
        'only in the bundle: "my \\303\\244keys.py" (holds a secret)\n'
        "diff --git a/train.py b/train.py\nindex 1..2 100644\n--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-old\n+new\n"
    )


def test_what_holds_nothing_private_stays_byte_for_byte() -> None:
    assert without_secrets(PATCH, lambda _: False) == PATCH
    assert without_secrets("", lambda _: True) == ""


def test_a_file_that_is_called_like_credentials_is_named_whatever_it_holds() -> None:
    patch = PATCH.replace("a/train.py b/train.py\nindex", "a/sub/.env b/sub/.env\nindex")
    assert without_secrets(patch, lambda _: False).splitlines()[:3] == [
        'only in the bundle: ".env" (3 B)',
        'only in the bundle: "sub/.env" (credentials, by its name)',
        'diff --git "a/my \\303\\244keys.py" "b/my \\303\\244keys.py"',
    ]


def test_a_file_that_is_only_moved_is_named_by_both_paths() -> None:
    moved = "diff --git a/old b/new\nsimilarity index 100%\nrename from old\nrename to new\n"
    assert without_secrets(moved, lambda _: True) == 'only in the bundle: "diff --git a/old b/new" (holds a secret)\n'
