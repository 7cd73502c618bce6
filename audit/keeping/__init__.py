"""Keeping a log whole: checked, backed up, restored, mirrored, archived. None of it appends to the log that it keeps."""
