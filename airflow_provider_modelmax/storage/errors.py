"""What the errors of stores and file systems mean, and what to do: a table."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from airflow_provider_modelmax.api.errors import DestinationError, StorageError


@dataclass(frozen=True)
class _Fault:
    """One kind of error.

    :param what: what is wrong with the destination; None for a failure of the store, which may pass
    :param do: what to do
    :param codes: codes or HTTP statuses in the store's answer; one is enough
    :param numbers: ``errno`` of an ``OSError``; one is enough
    :param types: names of exception types, of the error or its causes; one is enough
    :param says: pattern that the text must match as well
    """

    what: str | None
    do: str
    codes: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    types: frozenset[str] = frozenset()
    says: str = ""


def _fault(what: str | None, do: str, *signs: str | int, types: str = "", says: str = "") -> _Fault:
    codes = frozenset(sign for sign in signs if isinstance(sign, str))
    numbers = frozenset(sign for sign in signs if isinstance(sign, int))
    return _Fault(what, do, codes, numbers, frozenset(types.split()), says)


_CHECKSUMS: Final = (
    'put "config_kwargs": {"request_checksum_calculation": "when_required", "response_checksum_validation": '
    '"when_required"} into the extra of the connection'
)

_FAULTS: Final = (
    _fault(
        "this file system cannot {lacks}",
        "If a bucket is mounted there, as by Mountpoint for S3, write to the bucket itself, as "
        "s3://conn_id@bucket/folder/. Otherwise choose a folder on another file system.",
        types="UnsupportedError",
    ),
    _fault("a name is too long", "Choose a shorter one.{limit}", "KeyTooLongError", errno.ENAMETOOLONG),
    _fault("the file system is mounted read-only", "Mount it writable, or choose another destination.", errno.EROFS),
    _fault(
        "the bucket demands encryption headers",
        """Set FSSPEC_S3='{{"s3_additional_kwargs": {{"ServerSideEncryption": "AES256"}}}}' in the environment of """
        "the workers, or give the bucket a default encryption; see docs/stores.md.",
        says="server-side-encryption",
    ),
    _fault(
        "the store refuses the checksums that botocore adds",
        f"To turn them off, {_CHECKSUMS.replace('{', '{{').replace('}', '}}')}.",
        *("400", "501"),
        says="checksum|aws-chunked|x-amz-trailer|content-encoding|transfer-encoding",
    ),
    _fault(
        "the store does not support a part of the request",
        f"If these are the checksums that botocore adds, {_CHECKSUMS.replace('{', '{{').replace('}', '}}')}.",
        *("501", "NotImplemented"),
    ),
    _fault(
        "the bucket is in another region, or on another endpoint, than the connection says",
        'Put "region_name" with the region of the bucket into the extra of the connection.',
        *("301", "307", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
    ),
    _fault(
        "the credentials have expired",
        "Renew them in the connection, or in the environment of the worker.",
        *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    ),
    _fault(
        "an unfinished upload of another program has the same name",
        "Choose another name, or wait for a week: Azure removes it then.",
        "InvalidBlobOrBlock",
    ),
    _fault(
        "the endpoint is no URL",
        "Begin endpoint_url in the extra of the connection with http:// or https://.",
        types="ValueError",
        says="invalid endpoint",
    ),
    _fault(
        "the store does not accept the name of the bucket",
        "Correct it.",
        "InvalidBucketName",
        types="ParamValidationError",
    ),
    _fault(
        None,
        "The clock of this worker and that of the store differ by more than the store accepts: synchronize the "
        "worker's (NTP), then retry.",
        "RequestTimeTooSkewed",
    ),
    _fault(
        None,
        "The store is too busy. Retry later; if it happens often, run fewer tasks at once (an Airflow pool).",
        *("SlowDown", "503", "429", "ServerBusy", "TooManyRequests", "Throttling", "RequestLimitExceeded"),
    ),
    _fault(
        None,
        "The quota is used up. Free space, or have it raised, then retry.",
        *("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "507"),
        errno.EDQUOT,
    ),
    _fault(None, "The disk is full. Free space, then retry.", errno.ENOSPC),
    _fault(
        None,
        "The file system, or a limit of the worker (ulimit -f), does not allow a file of this size. Choose another "
        "destination, or raise the limit.",
        errno.EFBIG,
    ),
    _fault(
        None,
        "The mount is broken. Mount it again on this worker, then retry.",
        *(errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN),
    ),
    _fault(
        None,
        "No secure connection could be made. If the certificate is your own, name the file of its CA: for S3 as "
        '"verify" in the extra of the connection, for Azure as "connection_verify" there, for Google as '
        "REQUESTS_CA_BUNDLE in the environment of the workers. If the server speaks plain HTTP, begin its endpoint with http://.",
        types="SSLError SSLCertVerificationError ClientConnectorCertificateError ClientConnectorSSLError",
    ),
)


_RETRY: Final = _fault(None, "Retry; if it persists, check the store.")
_MISSING: Final = _fault("the bucket or folder does not exist", "Create it first.")
_IN_THE_WAY: Final = _fault("something else is in the way", "Move it, or choose another destination.")
_DENIED: Final = _fault(
    "access denied",
    "Check the credentials, and give their user the right to list, read and write objects there. If a policy of the "
    "bucket demands encryption headers, see docs/stores.md.",
)


def meaning(uri: str, error: Exception) -> StorageError:
    """Return an error that names the object and the next step."""
    answer = answered(error)
    if answer & {"NoSuchUpload", "InvalidBlockList"}:  # what S3 and Azure answer when the parts are gone
        return StorageError(f"{uri}: the upload was aborted, as another process writes the same object. Retry.")
    fault = _find(error, answer)
    do = fault.do.format(limit=_limit(error))
    if fault.what:
        what = fault.what.format(lacks=getattr(error, "what", ""))
        shown = os.strerror(error.errno) if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG else error
        return DestinationError(f"{uri}: {what} ({shown}). {do}")
    return StorageError(f"{uri}: the store failed ({type(error).__name__}: {error}). {do}")


def answered(error: BaseException) -> set[str]:
    """Return status and code of the store's answer, as far as its library kept them."""
    found = set()
    for each in filter(None, (error, error.__cause__)):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # S3
            found.add(str(response.get("Error", {}).get("Code")))
            found.add(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode")))
        found.add(str(getattr(response, "status_code", None)))  # Google, after a request was repeated
        for name in ("status_code", "error_code", "code"):  # Azure, Azure, Google
            value = getattr(each, name, None)
            found.add(str(getattr(value, "value", value)))
        if _has_no_token(each):
            found.add("401")
    return found


def _has_no_token(error: BaseException) -> bool:
    """Return whether Google gave no token for the credentials, or they are those of nobody."""
    refused = type(error).__name__ in {"RefreshError", "InvalidOperation"} and not getattr(error, "retryable", False)
    return refused and type(error.__cause__).__name__ != "TransportError"


def _find(error: Exception, answer: set[str]) -> _Fault:
    number = error.errno if isinstance(error, OSError) else None
    types, text = {type(each).__name__ for each in _causes(error)}, _text(error)
    for fault in _FAULTS:
        has_sign = answer & fault.codes or number in fault.numbers or types & fault.types
        if (has_sign or not (fault.codes or fault.numbers or fault.types)) and re.search(fault.says, text):
            return fault
    if isinstance(error, FileNotFoundError) or "404" in answer:
        return _MISSING
    if isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError)):
        return _IN_THE_WAY
    if isinstance(error, PermissionError) or answer & {"401", "403"}:
        return _DENIED  # S3 answers so too for a missing object, if the user may not list
    return _RETRY


def _text(error: Exception) -> str:
    """Return the text of the error and its causes, in lower case: S3 names a refused header in a field of its own."""
    found = []
    for each in _causes(error):
        response = getattr(each, "response", None)
        found += [str(each), str(response.get("Error")) if isinstance(response, Mapping) else ""]
    return " ".join(found).lower()


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause:
        yield cause
        inner = getattr(cause, "inner_exception", None)  # Azure
        cause = cause.__cause__ or inner or (None if cause.__suppress_context__ else cause.__context__)


def _limit(error: Exception) -> str:
    """Return how long names may be, if the file system is known."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | os.PathLike):
        return ""
    folders = (each for each in Path(error.filename).parents if len(os.fsencode(each)) < 1000)
    folder = next(each for each in folders if each.is_dir())
    return f" This file system allows {os.pathconf(folder, 'PC_NAME_MAX')} bytes for a name, and 4,095 for a path."
