"""A server for others: TLS with a certificate of one's own, trusted on its own host without configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.certificate import certificate
from tests.support.grid import Grid


def test_a_run_goes_over_tls_with_a_self_signed_certificate(new_grid: Callable[[], Grid], folder: Path) -> None:
    certificate(folder)
    (folder / "train.py").write_text("import os\nprint('hello', os.environ['RANK'])")
    grid = new_grid()
    grid.ok("server", "start", "--listen", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem", cwd=folder)
    assert grid.server["url"].startswith("https://")
    experiment = grid.finish("--gpus", "2", "--instance_type", "1_t4_16gb", "train.py", cwd=folder)
    assert experiment["state"] == "succeeded", experiment
    assert len(grid.log(experiment["experiment"]).splitlines()) == 2
    about = grid.server
    (grid.home / "server.json").write_text((grid.home / "server.json").read_text().replace("cert.pem", "key.pem"))
    assert grid.call("status").code != 0  # another certificate than the server's is not trusted
    (grid.home / "server.json").write_text(json.dumps(about))
    grid.ok("server", "stop")


def test_a_server_for_others_without_tls_is_refused_or_says_what_that_means(new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    refused = grid.call("server", "start", "--listen", "0.0.0.0:0")
    assert (refused.code, "unencrypted" in refused.err, "--insecure" in refused.err) == (2, True, True), refused
    started = grid.call("server", "start", "--listen", "0.0.0.0:0", "--insecure")
    assert (started.code, "without TLS, whoever is on the way reads tokens" in started.err) == (0, True), started
    grid.ok("server", "stop")
