-- What version 2 of the capture file adds to version 1, whose statements stay as they are.
PRAGMA user_version = 2;

-- More about the run. Names: sources (what was listened to, such as syscalls or vfs), fallback (why nothing better was
-- listened to, and what is not seen on this kernel; no row when there is nothing to say).
CREATE TABLE about (
    name TEXT NOT NULL PRIMARY KEY CHECK (name IN ('sources', 'fallback')),
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
