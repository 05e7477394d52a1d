"""The small server of the page: on 127.0.0.1 alone, for requests that name this machine, with files of one folder."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from maskgym.errors import BadInput
from maskgym.view.session import Session

PAGE = Path(__file__).parent / "page"
HOSTS = ["127.0.0.1", "localhost"]
_MOST = 2**20  # bytes of a question; a mask of 32,768 patches takes a fifth of it
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(session: Session) -> Starlette:
    """Make the application: six questions, and the files of the page."""
    questions: dict[str, Callable[..., Any]] = {
        "about": session.about,
        "image": session.image,
        "score": session.score,
        "play": session.play,
        "begin": session.begin,
        "query": session.query,
    }

    async def answer(request: Request) -> Response:
        ask = questions.get(request.path_params["question"])
        if ask is None:
            return JSONResponse({"error": "there is no such question"}, 404)
        if int(request.headers.get("content-length") or 0) > _MOST:
            return JSONResponse({"error": "the question is too long"}, 413)
        try:
            told = await request.json()
            if not isinstance(told, dict):
                raise TypeError("no object")
            return JSONResponse(await run_in_threadpool(ask, **told))
        except BadInput as error:
            return JSONResponse({"error": str(error)}, 400)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            return JSONResponse({"error": f"the question is not understood ({type(error).__name__})"}, 400)

    return Starlette(
        routes=[
            Route("/ask/{question}", answer, methods=["POST"]),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            Middleware(BaseHTTPMiddleware, dispatch=_guard),
        ],
    )


async def _guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Refuse questions sent by other sites' pages, and let our own page load nothing from elsewhere."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers.get('host')}":
        return JSONResponse({"error": "this page answers itself only"}, 403)
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


def bind(port: int) -> socket.socket:
    """Take the port on this machine alone; 0 = any that is free."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
        taken.listen(64)
    except (OSError, OverflowError) as error:
        taken.close()
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"port {port} cannot be used ({reason}): choose another --port, 0 takes any") from None
    return taken


def serve(session: Session, place: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    config: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "off"}
    uvicorn.Server(uvicorn.Config(make_app(session), **config)).run(sockets=[place])
