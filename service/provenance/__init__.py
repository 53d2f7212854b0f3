"""Marking and verifying: watermark, encode, C2PA signature, ledger. Siblings know nothing of it."""
