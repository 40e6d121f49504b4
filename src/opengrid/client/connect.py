"""The way to the server: the one that somebody has signed in to, else this user's own, which is started when needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opengrid.client.elsewhere import Elsewhere
from opengrid.client.embedded import Embedded
from opengrid.client.home import find_home, read_about, read_token
from opengrid.client.http import Http
from opengrid.client.login import find_login


def connect(
    environment: Mapping[str, str], *, tell: Callable[[str], None], trace: Callable[[str], None] | None = None
) -> Embedded | Elsewhere:
    """Return what carries requests to the server. Sends nothing yet."""
    home = find_home(environment)
    login = find_login(environment, home)
    if login is not None:
        return Elsewhere(login, tell=tell, trace=trace)
    return Embedded(home, tell=tell, trace=trace)


def running(environment: Mapping[str, str], *, timeout_s: float = 30.0) -> Http | None:
    """Return a connection to the server as far as it runs; None when none does. Starts none."""
    home = find_home(environment)
    login = find_login(environment, home)
    if login is not None:
        return Http(login.url, token=login.token, certificate=login.certificate, timeout_s=timeout_s)
    about = read_about(home)
    if about is None or not (about.is_elsewhere or about.is_alive):
        return None
    return Http(about.url, token=read_token(home), certificate=about.certificate, timeout_s=timeout_s)
