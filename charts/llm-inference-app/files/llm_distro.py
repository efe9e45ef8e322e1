"""FastAPI's server spans without a span for each message of a stream."""
from opentelemetry.instrumentation.distro import BaseDistro


class Distro(BaseDistro):
    def _configure(self, **kwargs):
        """The variables say it all."""

    def load_instrumentor(self, entry_point, **kwargs):
        if entry_point.name == "fastapi":
            kwargs["exclude_spans"] = ["receive", "send"]
        super().load_instrumentor(entry_point, **kwargs)
