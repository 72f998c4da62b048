"""The local server of the page: it listens on this machine alone, and answers whoever has the token."""

import asyncio
import hmac
import json
import secrets
import signal
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from ._root import FieldError, Root
from ._session import Session
from ._show import show_session

ADDRESS = "127.0.0.1"
MAX_BODY = 1_000_000  # bytes of a request: a sample sheet of thousands of files
PAGE_FILES = {"page.css": "text/css", "page.js": "text/javascript"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads allow-popups allow-modals; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'"
)
"""A report is a page of its own: its scripts reach neither the server nor the network."""

NO_TOKEN = "This page needs the address with the token, which neuronedit app has printed."


class Keys:
    """The token of a server, and a second one that opens the page once: it is seen in the list of processes."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.once: str | None = secrets.token_urlsafe(32)

    def is_token(self, word: str) -> bool:
        """Return whether a word is the token."""
        return hmac.compare_digest(word.encode(), self.token.encode())

    def opens(self, word: str) -> bool:
        """Return whether a word of an address opens the page."""
        if self.once is not None and hmac.compare_digest(word.encode(), self.once.encode()):
            self.once = None
            return True
        return self.is_token(word)


class Handler(RequestHandler):
    """What all answers share: whoever lacks the token, or comes from another site, is refused before anything else."""

    def initialize(self, session: Session, keys: Keys, port: int) -> None:
        """Take what the server knows."""
        self.session, self.keys, self.port = session, keys, port

    @property
    def cookie_name(self) -> str:
        """The cookie with the token; other ports of this machine have others."""
        return f"neuronedit-{self.port}"

    def set_default_headers(self) -> None:
        """Set what keeps other pages out."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse other hosts (names that were made to lead here), other sites, and whoever has no token."""
        hosts = {f"{ADDRESS}:{self.port}", f"localhost:{self.port}"}
        origin = self.request.headers.get("Origin")
        is_from_here = origin is None or origin in {f"http://{host}" for host in hosts}
        if self.request.host not in hosts or not is_from_here:
            raise HTTPError(403, reason="Forbidden")
        if not self.is_allowed():
            raise HTTPError(403, reason="Forbidden")

    def is_allowed(self) -> bool:
        """Return whether a request comes from the page itself, with the token."""
        is_cross_site = self.request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        return not is_cross_site and self.keys.is_token(self.get_cookie(self.cookie_name) or "")

    def write_error(self, status_code: int, **how: Any) -> None:
        """Answer in one sentence, without what went wrong inside."""
        text = {403: NO_TOKEN, 404: "There is nothing here.", 405: "This cannot be asked for in this way."}
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text.get(status_code, "The page could not answer; the terminal says why."))

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(content, ensure_ascii=False).replace("<", "\\u003c"))


class PageHandler(Handler):
    """The page. The token of the address is kept in a cookie."""

    def is_allowed(self) -> bool:
        """Return whether the address or the cookie has the token."""
        return self.keys.opens(self.get_query_argument("token", "")) or super().is_allowed()

    def get(self) -> None:
        """Send the page."""
        self.set_cookie(self.cookie_name, self.keys.token, httponly=True, samesite="Strict", path="/")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(read_page_file("page.html"))


class FileHandler(Handler):
    """The style and the script of the page."""

    def get(self, name: str) -> None:
        """Send one."""
        self.set_header("Content-Type", f"{PAGE_FILES[name]}; charset=utf-8")
        self.finish(read_page_file(name))


class StateHandler(Handler):
    """What the page shows."""

    def get(self) -> None:
        """Send it."""
        self.answer(show_session(self.session))


class FolderHandler(Handler):
    """What may be chosen in a folder."""

    def get(self) -> None:
        """Send a list."""
        try:
            self.answer(self.session.list_folder(self.get_query_argument("path", ".")))
        except FieldError as error:
            self.answer({"error": str(error), "field": error.field}, 400)
        except OSError:
            self.answer({"error": "This folder cannot be read.", "field": "input"}, 400)


class ActionHandler(Handler):
    """What a button or a field does."""

    def post(self, name: str) -> None:
        """Do it, and send what the page shows then; what is refused is one sentence about one field."""
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "choose": lambda given: self.session.choose(str(given.get("path", ""))),
            "set": lambda given: self.session.set_field(str(given.get("field", "")), given.get("value")),
            "sheet": lambda given: self.session.write_sheet(given.get("rows")),
            "check": lambda given: self.session.start_look(is_check=True),
            "run": lambda given: self.session.start_run(),
            "stop": lambda given: self.session.stop_run(),
        }
        if name not in actions:
            raise HTTPError(404)
        try:
            given = json.loads(self.request.body or b"{}")
        except ValueError:
            given = None
        if not isinstance(given, dict) or not self.request.headers.get("Content-Type", "").startswith(
            "application/json"
        ):
            raise HTTPError(400)
        try:
            actions[name](given)
        except FieldError as error:
            self.session.errors[error.field] = str(error)
            self.answer({"error": str(error), "field": error.field, "state": show_session(self.session)}, 400)
            return
        self.answer({"state": show_session(self.session)})


class ReportHandler(Handler):
    """The report of the last run."""

    def get(self) -> None:
        """Send it."""
        path = self.session.find_report()
        if path is None:
            raise HTTPError(404)
        self.set_header("Content-Security-Policy", REPORT_POLICY)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(path.read_bytes())


class NothingHandler(Handler):
    """Whatever else is asked for."""

    def get(self) -> None:
        """Refuse."""
        raise HTTPError(404)

    post = get


def read_page_file(name: str) -> bytes:
    """Return a file of the page."""
    return (files("neuronedit") / "_app" / name).read_bytes()


class Server:
    """A page that is being served."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self.session, self.keys = Session(Root.open(root)), Keys()
        try:
            sockets = bind_sockets(port, ADDRESS)
        except OSError as error:
            raise OSError(f"port {port} of {ADDRESS} cannot be used: {error.strerror}.") from None
        self.port: int = sockets[0].getsockname()[1]
        known = {"session": self.session, "keys": self.keys, "port": self.port}
        routes = [
            (r"/", PageHandler, known),
            (r"/(page\.css|page\.js)", FileHandler, known),
            (r"/api/state", StateHandler, known),
            (r"/api/folder", FolderHandler, known),
            (r"/api/([a-z]+)", ActionHandler, known),
            (r"/report", ReportHandler, known),
        ]
        application = Application(
            routes, default_handler_class=NothingHandler, default_handler_args=known, log_function=lambda handler: None
        )
        self.http = HTTPServer(application, max_body_size=MAX_BODY, max_buffer_size=MAX_BODY)
        self.http.add_sockets(sockets)

    @property
    def address(self) -> str:
        """The address of the page, with the token."""
        return f"http://{ADDRESS}:{self.port}/?token={self.keys.token}"

    @property
    def address_once(self) -> str:
        """An address that opens the page once."""
        return f"http://{ADDRESS}:{self.port}/?token={self.keys.once}"

    def close(self) -> None:
        """Listen no more; a run goes on."""
        self.http.stop()
        self.session.close()


async def serve(root: Path, port: int, say: Callable[[str], None], *, opens_browser: bool) -> bool:
    """Serve the page until Ctrl-C or SIGTERM; return whether a run goes on."""
    server, task = Server(root, port), asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        say(server.address)
        if opens_browser:
            webbrowser.open(server.address_once)
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass
    finally:
        server.close()
    return server.session.run is not None and server.session.run.is_running()
