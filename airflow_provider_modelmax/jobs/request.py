"""What a task asks for, checked and ready to send, with the image read on the worker."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.api import image as images
from airflow_provider_modelmax.api import parameters as inputs
from airflow_provider_modelmax.api.errors import DestinationError, StorageError

LONGEST_URI = 4096
"""Characters. What is longer is no path, but Base64 of something that is no image."""


class HiddenImage:
    """Base64 that a DAG author wrote into ``parameters``; shows its size where Airflow would show the bytes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:12]
        return f"<image, {len(self.text):,} characters of Base64, sha256 {digest}…>"

    __repr__ = __str__


def hide_image(parameters: Any) -> Any:
    """Return ``parameters`` with an image given as Base64 hidden from rendered templates, logs and the database."""
    if not isinstance(parameters, Mapping):
        return parameters
    image = parameters.get("image")
    if isinstance(image, bytes | bytearray | memoryview):
        image = base64.b64encode(image).decode()
    elif not isinstance(image, str) or not (images.may_be_base64(image) or images.decode_image(image)):
        return parameters
    return {**parameters, "image": HiddenImage(image)}


@dataclass(frozen=True)
class Order:
    """A request for videos.

    :param model: model id
    :param prompt: what to show
    :param parameters: as the caller gave them: an image is a path, a URI or a :class:`HiddenImage`
    :param image: the image as the service takes it
    """

    model: str
    prompt: str
    parameters: Mapping[str, Any]
    image: str | None = field(default=None, repr=False)

    @classmethod
    def checked(cls, model: object, prompt: object, parameters: object, *, allow_unknown: bool = False) -> Order:
        """Check everything and read the image.

        :param allow_unknown: whether a parameter is sent although its name looks like a mistake for a known one
        :raises InvalidInputError: for what is wrong, before anything is sent
        """
        inputs.check_parameter_names(parameters, allow_unknown=allow_unknown)
        wanted = inputs.check_parameters(parameters)
        image = _read_image(wanted["image"]) if "image" in wanted else None
        return cls(inputs.check_model(model), inputs.check_prompt(prompt), wanted, image)

    @property
    def body(self) -> dict[str, Any]:
        """The parameters as they are sent."""
        return {**self.parameters, "image": self.image} if self.image else dict(self.parameters)


def image_uri(image: object) -> str | None:
    """Return the path or URI that ``image`` is, or None when it cannot be one."""
    if not isinstance(image, str | None):
        from airflow_provider_modelmax.storage.location import as_text  # noqa: PLC0415 - not at DAG parse

        image = as_text(image)
    if not isinstance(image, str) or not image.strip() or len(image) > LONGEST_URI or images.is_data_url(image):
        return None
    return image


def describe(model: str, prompt: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a request as a manifest shows it: the image by its name, or its size."""
    model, prompt, shown = inputs.check_model(model), inputs.check_prompt(prompt), inputs.check_parameters(parameters)
    if "image" in shown:
        shown["image"] = str(hide_image(shown)["image"])
    # Through JSON, so that it equals what is read back from a manifest.
    described: dict[str, Any] = json.loads(json.dumps({"model": model, "prompt": prompt, "parameters": shown}))
    return described


def fingerprint(request: Mapping[str, Any]) -> str:
    """Return a hash of a request. An image on a path counts by its path only."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


def _read_image(image: object) -> str:
    if isinstance(image, HiddenImage):
        image = image.text
    images.check_image_kind(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return images.encode_image(bytes(image), "given as bytes")
    uri = image_uri(image)
    if isinstance(image, str) and (data := images.decode_image(image)):
        return images.encode_image(data, "given as Base64")
    if uri and not images.may_be_base64(uri):
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
