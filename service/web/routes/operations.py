"""Routes for operators: liveness, readiness, metrics."""

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST

from service import metrics
from service.refusals import NOT_READY, SHUTTING_DOWN
from service.threads import OPERATORS
from service.web.app_keys import ADMISSION, HEALTH
from service.web.presentation import json_response


async def live(_request: web.Request) -> web.Response:
    """GET /health/live: 200 if the process answers; nothing else is checked."""
    return json_response({"status": "live"})


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: 200 if every check passes, also while the queue is full.

    Raises Unavailable with the checks that fail.
    """
    admission = request.app[ADMISSION]
    if not admission.is_open:
        results = {"shutdown": SHUTTING_DOWN().detail}
    else:
        results = await request.app[HEALTH].results()
    failing = {name: result for name, result in results.items() if result != "ok"}
    if not failing:
        queue = {"waiting": len(admission.waiting), "full_seconds": round(admission.full_seconds, 1)}
        return json_response({"status": "ready", "checks": results, "queue": queue})
    raise NOT_READY(checks=" ".join(f"{name}: {result}" for name, result in failing.items()))


async def expose_metrics(_request: web.Request) -> web.Response:
    """GET /metrics: Prometheus' text format."""
    body = await OPERATORS.run(metrics.exposition)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})
