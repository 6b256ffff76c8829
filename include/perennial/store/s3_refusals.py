"""Explains the errors of an S3 server: from the server's error code to half a sentence with what to check."""

from __future__ import annotations

from typing import Any

_RIGHTS = {  # by operation
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "CopyObject": "s3:GetObject and s3:PutObject",
    **dict.fromkeys(("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "s3:PutObject"),
    **{name: f"s3:{name}" for name in ("GetObject", "PutObject", "DeleteObject")},
}
_REFUSED = "refuses the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and the rights on the bucket"
_NONE = "was asked without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine or pod a role"
_EXPIRED = (
    "refuses the session token, which has expired or is not valid: get new credentials with a new AWS_SESSION_TOKEN, then start again"
)
_SILENT = "does not answer: check AWS_ENDPOINT_URL and the network"
_REGION = "is in another region than AWS_REGION says: set AWS_REGION to the bucket's"
_ADVICE = {  # by the server's code, or by the class of boto3's error
    **dict.fromkeys(("403", "InvalidAccessKeyId", "SignatureDoesNotMatch"), _REFUSED),
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError"), _NONE),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError"), _SILENT),
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"), _REGION),
    "RequestTimeTooSkewed": "refuses requests because this machine's clock is wrong: set it",
    "SSLError": (
        "cannot be spoken to over TLS: check whether AWS_ENDPOINT_URL begins with http:// or https://, "
        "and that AWS_CA_BUNDLE has its authority"
    ),
    "ProfileNotFound": "was asked with a profile that is not there: correct AWS_PROFILE",
    **dict.fromkeys(("ParamValidationError", "InvalidBucketName"), "has no valid name: correct PERENNIAL_STORE"),
    **dict.fromkeys(("QuotaExceeded", "EntityTooLarge"), "has no room left: free some space, or raise the bucket's quota"),
}
_GIVEN_NONE = {"CredentialRetrievalError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "SSOTokenLoadError"}


def code_of(error: Any) -> str:
    """The server's error code; some servers put it one level higher than Amazon's."""
    return str(error.response.get("Error", error.response).get("Code", "no reason given"))


def advice(code: str, error: Exception, *, bucket: str, with_token: bool) -> str:
    """The rest of the sentence `The store s3://…`: what is wrong and what to do.

    Args:
        code: the server's code, or the name of the class of boto3's error where no server answered.
        error: what was raised.
        bucket: which bucket was asked.
        with_token: whether the credentials have a session token.
    """
    if code == "NoSuchBucket":
        return f"has no bucket {bucket}: create it or correct PERENNIAL_STORE, or AWS_ENDPOINT_URL if another server is meant"
    if code in _GIVEN_NONE:
        return f"{_NONE} ({error})"
    if code in ("400", "InvalidArgument") and with_token:
        return _EXPIRED
    if code.isdigit() and code not in _ADVICE and (code < "500" or code == "501"):
        return f"does not answer as S3 does (status {code}): check AWS_ENDPOINT_URL"
    return _ADVICE.get(code, f"failed ({code})")


def concerns_credentials(sentence: str) -> bool:
    """Whether other credentials may be let in where these were refused."""
    return sentence in (_REFUSED, _EXPIRED)


def lacking_right(operation: str, bucket: str) -> str:
    """The rest of the sentence `The store s3://…`: what valid credentials are not allowed to do."""
    right = f"it takes {_RIGHTS[operation]}" if operation in _RIGHTS else f"{operation} is refused"
    return f"does not let these credentials do it: {right}; check their rights on the bucket {bucket}"


def role_refused(role: str, code: str) -> str:
    """The rest of the sentence `The store s3://…`: why a role gave no credentials."""
    return f"was asked without credentials: the role {role} was not given ({code}): check the trust of the role, and AWS_ROLE_ARN"


def token_file_missing(file: str) -> str:
    """The rest of the sentence `The store s3://…`: why a pod's token gave no credentials."""
    return (
        f"was asked without credentials: there is no file {file} with the pod's token; "
        "check its service account, or AWS_WEB_IDENTITY_TOKEN_FILE"
    )
