"""Certificates with SM2 and SM3: read, written and validated (RFC 5280, RFC 2986; GM/T 0015).

Pure: no file, no clock, no randomness. Names and extensions are read here and not by `cryptography.x509`, which knows no
SM2 key, warns where it should refuse, and accepts more than one spelling.
"""
