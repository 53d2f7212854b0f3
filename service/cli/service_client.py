"""Talking to a running service from the command line."""

from __future__ import annotations

from typing import Any

import click
import httpx

DEFAULT_URL = "http://127.0.0.1:3000"
_TIMEOUT = httpx.Timeout(900.0, connect=5.0)


def open_client(
    url: str, transport: httpx.BaseTransport | None = None, *, api_key: str | None = None
) -> httpx.Client:
    """Return a client of the service at `url`. `transport` is for tests."""
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    return httpx.Client(
        base_url=url.rstrip("/"), timeout=_TIMEOUT, transport=transport, headers=headers
    )


def answer(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a successful answer.

    Raises click.ClickException with the service's own message, and when to try again, if it has
    refused; and for whatever is no service of ours.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise click.ClickException(f"{response.url} does not answer like this service.")
    if response.is_success:
        return body
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    wait_s = response.headers.get("retry-after")
    hint = f" Try again in {wait_s} s." if wait_s else ""
    raise click.ClickException(f"{message or f'HTTP {response.status_code}'}{hint}")


def unreachable(url: str, error: httpx.TransportError) -> click.ClickException:
    """Return the exception to raise when the service cannot be reached."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return click.ClickException(
            f"Nothing answers at {url}. Start the service with `make serve` (or `mintmark serve`), "
            "or name another one with --url."
        )
    return click.ClickException(f"The connection to {url} broke: {type(error).__name__}.")
