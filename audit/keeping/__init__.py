"""Keeping a log whole: checked, backed up, restored, mirrored, archived. None of it appends to the log that it keeps."""

MIN_RETENTION_DAYS = 184  # six months, whichever they are (Cybersecurity Law)
