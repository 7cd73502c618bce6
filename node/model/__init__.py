"""Values of the domain: identities, statements, datasets, grants, records. Pure: no file, socket or clock."""
