"""Telling a server of each epoch."""

import json
import warnings
from typing import Any

from minicnn.callbacks.base import Callback

_TIMEOUT = 10.0  # seconds without an answer


class RemoteMonitor(Callback):
    """Send the logs of each epoch to a server by HTTP POST, with "epoch" among them.

    A server that cannot be reached is warned of, and training goes on.

    Args:
        root: the address of the server.
        path: what follows it.
        field: of the form that holds the logs as JSON.
        headers: of the request.
        send_as_json: send the JSON itself instead of a form.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
    ):
        super().__init__()
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        import requests

        send = {"epoch": epoch, **(logs or {})}
        form = None if self.send_as_json else {self.field: json.dumps(send)}
        try:
            requests.post(
                self.root + self.path,
                data=form,
                json=send if self.send_as_json else None,
                headers=self.headers,
                timeout=_TIMEOUT,
            )
        except requests.RequestException:
            warnings.warn(f"RemoteMonitor cannot reach {self.root!r}", stacklevel=2)
