from stn_numpy.verify.candidates import load_candidate
from stn_numpy.verify.check import verify
from stn_numpy.verify.report import Check, Finding, Report, VerificationError
from stn_numpy.verify.subjects import Case

__all__ = ["Case", "Check", "Finding", "Report", "VerificationError", "load_candidate", "verify"]
