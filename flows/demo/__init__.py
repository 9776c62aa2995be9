"""Synthetic footage, for `dsanet demo` and for the tests."""
