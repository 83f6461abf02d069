"""Whether everything in a run folder is whole and belongs together."""

from dtrak_stream.verification.run import VerifyConfig, VerifyResult, verify

__all__ = ["VerifyConfig", "VerifyResult", "verify"]
