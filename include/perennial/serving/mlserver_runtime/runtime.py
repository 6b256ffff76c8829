"""The model class that MLServer loads: one version, fetched, checked against its golden rows and asked as by every other server.

MLServer imports this module anew for each model that it loads, so nothing is kept here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.handlers.custom import CustomHandler, register_custom_handler
from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor
from mlserver.utils import get_model_uri

from perennial.serving.limits import MAX_FEEDBACK_BYTES
from perennial.serving.mlserver_folder import Told
from perennial.serving.mlserver_runtime.form import MLServerForm, headers_of, size_of
from perennial.serving.mlserver_runtime.totals import TOTALS
from perennial.serving.open_inference import model_metadata
from perennial.serving.refused import Refused, too_large
from perennial.serving.served_version import VERSION_HEADER, ServedVersion

log = logging.getLogger(__name__)

UNPROCESSABLE, UNAVAILABLE, FAULT = 422, 503, 500


class VersionRuntime(MLModel):  # type: ignore[misc]
    """One version, as `version.json` beside its settings names it."""

    served: ServedVersion | None = None

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)

        async def feedback(request: Request) -> Response:
            return await self._feedback(request)

        # Only who reaches the server itself: Seldon Core 2 hands on the protocol's own paths alone.
        register_custom_handler(CustomHandler(rest_path=f"/v2/models/{settings.name}/feedback"), feedback)
        self.feedback = feedback

    async def load(self) -> bool:
        """See `MLModel.load`. Raises MLServerError where the version must not serve, or cannot be fetched now: the sentence says why."""
        try:
            told = Told.read(Path(await get_model_uri(self.settings)))
        except ValueError as error:
            raise MLServerError(str(error), UNPROCESSABLE) from None
        served = ServedVersion(told.model, told.version, told.digest)
        try:
            await _in_thread(served.load)
        except RuntimeError as error:
            raise MLServerError(str(error), UNAVAILABLE) from error
        if served.refused:
            served.close()
            raise MLServerError(served.reason, UNPROCESSABLE)
        self.served = served
        TOTALS.add(served)
        described = model_metadata(served.model, served.version, served.scorer.signature, len(served.scorer.names))
        self.inputs = [MetadataTensor(**tensor) for tensor in described["inputs"]]
        self.outputs = [MetadataTensor(**tensor) for tensor in described["outputs"]]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """See `MLModel.predict`. Raises MLServerError with the status that every server gives; a fault of another kind says nothing."""
        served, headers = self._must_serve(), headers_of(payload)
        form = MLServerForm(payload, self.name)
        try:
            await _in_thread(served.answer, bytes(size_of(payload, headers)), headers, form)
        except Refused as refused:
            raise MLServerError(str(refused), refused.status) from None
        except Exception:
            log.exception("Version %d of %s failed on a request.", served.version, served.model)
            raise MLServerError("The server failed on this request: its log says why.", FAULT) from None
        return form.answer

    async def unload(self) -> bool:
        """See `MLModel.unload`. What the logs still hold is written."""
        if self.served:
            TOTALS.remove(self.served)
            await _in_thread(self.served.close)
        return True

    async def _feedback(self, request: Request) -> Response:
        served = self._must_serve()
        try:
            body = await request.body()
            if len(body) > MAX_FEEDBACK_BYTES:
                raise too_large(MAX_FEEDBACK_BYTES)
            found = await _in_thread(served.take_outcome, body)
        except Refused as refused:
            return Response(json.dumps({"error": str(refused)}), refused.status, media_type="application/json")
        return Response(found, media_type="application/json", headers={VERSION_HEADER: str(served.version)})

    def _must_serve(self) -> ServedVersion:
        if self.served is None:
            raise MLServerError(f"Model {self.name} is being loaded.", UNAVAILABLE)
        return self.served


async def _in_thread(function: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
