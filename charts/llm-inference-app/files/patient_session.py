"""A session for OpenTelemetry's OTLP exporter that does not give up.

By itself the exporter drops a batch after six tries, which is half a minute, or
after a single one that hangs, as one does whose Collector's Pod was taken away
meanwhile. This session sends it again for as long as nobody takes it; the spans
behind it wait in the SDK's queue (OTEL_BSP_MAX_QUEUE_SIZE). It is found by the
entry point that OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER names.
"""
import logging
import threading

import requests

logger = logging.getLogger("patient_session")

# Answers by which OTLP says: send it again (OTLP 1.11, "Failures").
RETRYABLE = {429, 502, 503, 504}


class PatientSession(requests.Session):
    attempt = (3.05, 20)  # seconds for a connection, and between two bytes of the answer
    shortest, longest = 0.5, 5  # seconds between two attempts, which double

    def __init__(self):
        super().__init__()
        self._closed = threading.Event()

    def request(self, method, url, **kwargs):
        kwargs["timeout"] = self.attempt
        pause = self.shortest
        while True:
            response = failure = None
            try:
                response = super().request(method, url, **kwargs)
            except (requests.ConnectionError, requests.Timeout) as error:
                failure = error
            if response is not None and response.status_code not in RETRYABLE:
                if pause > self.shortest:
                    logger.warning("%s takes spans again", url)
                return response
            if pause == self.shortest:
                logger.warning("%s does not take spans (%s): they wait in memory", url, failure or response.reason)
            if self._closed.wait(pause):
                if failure:
                    raise failure
                return response
            pause = min(2 * pause, self.longest)

    def close(self):
        """The SDK has waited long enough for what is under way: it ends."""
        self._closed.set()
        super().close()
