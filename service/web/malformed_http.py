"""aiohttp's server, with our own answer to a request that is not HTTP."""

from http import HTTPStatus

import structlog
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from service.refusals import BAD_REQUEST
from service.web.errors import problem
from service.web.request_log import REQUEST_ID_HEADER, request_id

log = structlog.stdlib.get_logger()


class Runner(web.AppRunner):
    """An AppRunner whose connections answer malformed HTTP as every other error.

    aiohttp itself logs a traceback for a client's fault and echoes the client's bytes in text/plain.
    """

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server  # an Application takes no class for its server
        return server


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(RequestHandler):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Tell a running request that its body cannot be read on.

        aiohttp's parser in C keeps broken chunks to itself: the reader would wait for them until it gives up.
        """
        super().data_received(data)
        if self._current_request is not None and self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            content = self._current_request.content
            if not content.is_eof() and content.exception() is None:
                content.set_exception(web.RequestPayloadError("broken chunks"))
                content.feed_eof()  # there is nothing to linger for
                self.close()  # once this request is answered

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        log.info("malformed_request", request_id=request_id(request), status=status, reason=type(exc).__name__)
        answer = problem(BAD_REQUEST())
        response = _Unsigned(status=answer.status, body=answer.body, content_type=answer.content_type)
        response.headers[REQUEST_ID_HEADER] = request_id(request)
        response.force_close()
        return response


class _Unsigned(web.Response):
    """A response outside of the application, whose signal would take the Server header away."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)
