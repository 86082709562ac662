"""A request for videos: checked once, and read, described and hashed at most once."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.api import image as images
from airflow_provider_modelmax.api import parameters as inputs
from airflow_provider_modelmax.api.errors import DestinationError, StorageError
from airflow_provider_modelmax.api.image import HiddenImage, hide_image
from airflow_provider_modelmax.api.text import read_integer

if TYPE_CHECKING:
    from airflow_provider_modelmax.jobs.record import JobRecord

LONGEST_URI = 4096
"""Characters. What is longer is no path, but Base64 of something that is no image."""


@dataclass(frozen=True)
class VideoRequest:
    """A request for videos that was checked: the names and types of its parameters, and whether its image can be read.

    :param model: model id
    :param prompt: what to show
    :param parameters: as they are sent, but for the image: a path, a URI or a :class:`HiddenImage`
    :param warning: about parameters that are not in the contract, None if there are none
    """

    model: str
    prompt: str
    parameters: Mapping[str, Any]
    warning: str | None = None

    @classmethod
    def check(cls, model: object, prompt: object, parameters: object, *, allow_unknown: bool = False) -> VideoRequest:
        """Check everything but the image, which :attr:`image` reads.

        :param allow_unknown: whether a parameter is sent although its name looks like a mistake for a known one
        :raises InvalidInputError: for what is wrong, before anything is sent
        """
        warning = inputs.check_parameter_names(parameters, allow_unknown=allow_unknown)
        checked = hide_image(inputs.check_parameters(parameters))
        return cls(inputs.check_model(model), inputs.check_prompt(prompt), checked, warning)

    @cached_property
    def image(self) -> str | None:
        """The image as Base64, read once; None if there is none.

        :raises InvalidInputError: if it is missing, too large or not an image
        :raises StorageError: if its store fails
        """
        return _read_image(self.parameters["image"]) if "image" in self.parameters else None

    @property
    def image_uri(self) -> str | None:
        """The path or URI of the image, None if there is none."""
        return image_uri(self.parameters.get("image"))

    @property
    def body(self) -> dict[str, Any]:
        """The parameters as they are sent."""
        return {**self.parameters, "image": self.image} if self.image else dict(self.parameters)

    @property
    def samples(self) -> int:
        """How many videos are asked for."""
        return int(self.parameters.get("sample_count", 1))

    @cached_property
    def description(self) -> dict[str, Any]:
        """The request in readable form, as it is read back from a record."""
        described: dict[str, Any] = json.loads(self._described, parse_int=read_integer)
        return described

    @cached_property
    def _described(self) -> str:
        """JSON: the image by its name, or its size and hash."""
        shown = dict(self.parameters)
        if "image" in shown:
            shown["image"] = str(shown["image"])
        return json.dumps({"model": self.model, "prompt": self.prompt, "parameters": shown})

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the request in hex, with the content of its image."""
        document = {"model": self.model, "prompt": self.prompt, "parameters": self.body}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    @cached_property
    def order(self) -> str:
        """The hash that 0.1.0 stored: an image on a path counts by its path, not by its content."""
        return hashlib.sha256(json.dumps(json.loads(self._described), sort_keys=True).encode()).hexdigest()[:16]

    def is_that_of(self, record: JobRecord) -> bool:
        """Whether a job was submitted with this request.

        A record of 0.1.0 has no fingerprint; and the image may be gone by now, which is no reason for a new job.
        """
        if record.fingerprint and "image" in self.parameters:
            try:
                return record.fingerprint == self.fingerprint
            except (InvalidInputError, StorageError):
                pass
        return record.order == self.order


def image_uri(image: object) -> str | None:
    """Return the path or URI that ``image`` is, or None when it cannot be one."""
    if not isinstance(image, str | None):
        from airflow_provider_modelmax.storage.location import as_text  # noqa: PLC0415 - not at DAG parse

        image = as_text(image)
    if not isinstance(image, str) or not image.strip() or len(image) > LONGEST_URI or images.is_data_url(image):
        return None
    return image


def _read_image(image: object) -> str:
    if isinstance(image, HiddenImage):  # `hide_image` hides whatever may be Base64
        if image.is_bytes:
            return images.encode_image(base64.b64decode(image.text), "given as bytes")
        image = image.text
        if data := images.decode_image(image):
            return images.encode_image(data, "given as Base64")
    else:
        images.check_image_kind(image)
        if uri := image_uri(image):
            return images.encode_image(_load(uri), uri)
    raise InvalidInputError(
        f"parameters['image'] ({len(str(image)):,} characters) is neither a path, nor a URI, nor Base64 of a PNG, "
        "JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    )


def _load(uri: str) -> bytes:
    """Read one byte more than is allowed, so that a larger file is noticed and not sent."""
    from airflow_provider_modelmax.storage.objects import read_bytes  # noqa: PLC0415 - not at DAG parse

    try:
        return read_bytes(uri, images.MAX_IMAGE_BYTES + 1)
    except StorageError as error:
        if isinstance(error, DestinationError) and error.leads_nowhere:
            raise InvalidInputError(f"The image: {error}") from None
        error.args = (f"The image: {error}",)
        raise
    except IsADirectoryError:
        raise InvalidInputError(f"The image {uri} is a folder. Name the file in it.") from None
    except FileNotFoundError:
        raise InvalidInputError(
            f"The image {uri} does not exist, seen from this worker. Give a path that workers can read, or a URI such "
            "as s3://conn_id@bucket/key.png."
        ) from None
