"""The rules: what is allowed and why not. Pure: values in, values or refusals out."""
