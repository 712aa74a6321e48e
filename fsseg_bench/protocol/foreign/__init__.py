"""Episode lists in other tools' layouts, read into this package's own form: everything changed or assumed is said."""
