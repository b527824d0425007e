"""The server of the page: for this machine alone unless said otherwise, without any connection to elsewhere."""

import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from imagen.errors import UserError
from imagen.files import create

UPLOADS = "uploads"
"""Folder, beside the results, for what Gradio writes: uploaded pictures, and copies of those that it shows."""

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; form-action 'self'; "
    "base-uri 'self'"
)
"""What a browser may load for the page: nothing from elsewhere."""

OFF = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_VIBE_MODE": "",
    "GRADIO_DEBUG": "0",
}
"""Whatever the environment says: no telemetry, no tunnel, no records outside of our folder."""

SECONDS_TO_CLOSE = 2


def serve(folders: Sequence[Path], outputs: Path, host: str, port: int) -> None:
    """Serve the page until the process is told to end.

    Args:
        folders: of exported stages, besides those that are found.
        outputs: the only folder that is written to.
        host: the address to listen at; 127.0.0.1 is this machine alone.
        port: 0 takes one that is free.

    Raises:
        UserError: where there is no cascade, for an address that cannot be had, and a folder that cannot be written.
    """
    outputs = outputs.absolute()
    os.environ.update(OFF, GRADIO_TEMP_DIR=str(outputs / UPLOADS))  # before Gradio is imported
    os.environ.setdefault("MPLCONFIGDIR", str(outputs / UPLOADS))  # torchmetrics imports matplotlib, which lists fonts
    _probe(outputs / UPLOADS)
    with _listening(host, port) as listener:  # before the slow imports: an address that cannot be had is told at once
        import uvicorn

        from imagen.web.cascades import Cascades
        from imagen.web.history import History
        from imagen.web.page import Page
        from imagen.web.worker import Worker

        worker = Worker()
        app = application(Page(Cascades(folders), History(outputs), worker), outputs)
        print(
            f"http://{_shown(host)}:{listener.getsockname()[1]}  (Ctrl-C ends it; pictures go to {outputs})", flush=True
        )
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=SECONDS_TO_CLOSE)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            worker.stop()


def application(page: Any, outputs: Path) -> Any:
    """The page as an ASGI application."""
    import fastapi
    import gradio as gr
    from gradio.themes import Default

    from imagen.web.fields import CSS
    from imagen.web.uploads import MOST_BYTES

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Policy)
    return gr.mount_gradio_app(
        app,
        page.build(),
        path="/",
        server_name="127.0.0.1",
        footer_links=[],
        run_history=False,
        allowed_paths=[str(outputs)],
        show_error=True,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=CSS,
    )


Message = MutableMapping[str, Any]


class Policy:
    """Sends `POLICY` with every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"--host {host} --port {port}: {reason}; choose another", environment=True) from None


def _probe(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create(folder / ".probe").close()
        (folder / ".probe").unlink()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}; make it writable", environment=True) from None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
