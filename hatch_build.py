"""The build hook: a wheel carries the web UI, built with the machine's npm or, where there is none, with PyPI's.

Not built: for an editable install (`make ui` does it), in an unpacked source distribution, which carries it already,
and with OPENGRID_WITHOUT_UI=1, which makes a wheel whose server has the API only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "ui"))
import build as ui


class UiBuildHook(BuildHookInterface):  # pyright: ignore[reportMissingTypeArgument]
    """Builds ui/ into src/opengrid/_ui before a wheel or source distribution is put together."""

    def dependencies(self) -> list[str]:
        """Return what the isolated build environment needs: Node, when PATH has none that will do."""
        return [ui.NODE_PACKAGE] if self._is_wanted("standard") and not ui.has_usable_node() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the web UI, or leave it."""
        if not self._is_wanted(version):
            return
        try:
            ui.build()
        except ui.BuildFailed as failure:
            hint = "OPENGRID_WITHOUT_UI=1 makes a package without the web UI."
            raise SystemExit(f"\n{failure}\n{hint}") from None

    def _is_wanted(self, version: str) -> bool:
        if version == "editable" or os.environ.get("OPENGRID_WITHOUT_UI") == "1":
            return False
        is_unpacked = (Path(self.root) / "PKG-INFO").exists()
        return not (is_unpacked and (ui.BUILT / "index.html").is_file())
