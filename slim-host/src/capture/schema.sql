-- Version 1 of the capture file. Comments stand between the statements, never inside them: the reader compares
-- the text of every statement with what a file holds, so any byte changed within one needs a new user_version.

-- 0x534c494d is "SLIM"; it tells file(1) and the reader that this SQLite database is a capture.
PRAGMA application_id = 0x534c494d;
PRAGMA user_version = 1;

-- Exactly one row. content_digest is SHA-256 over everything else in the file; NULL until the capture ends in order.
CREATE TABLE capture (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    capture_id BLOB NOT NULL CHECK (length(capture_id) = 16),
    image_id TEXT NOT NULL,
    image_reference TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    platform TEXT NOT NULL,
    engine TEXT NOT NULL,
    kernel TEXT NOT NULL,
    slim_version TEXT NOT NULL,
    started_unix INTEGER NOT NULL,
    duration_ns INTEGER NOT NULL CHECK (duration_ns >= 0),
    status TEXT NOT NULL CHECK (status IN ('complete', 'lossy', 'cut')),
    content_digest BLOB CHECK (length(content_digest) = 32)
) STRICT;

-- The image's uncompressed layer digests; position 0 is the lowest layer.
CREATE TABLE layer (
    position INTEGER PRIMARY KEY CHECK (position >= 0),
    diff_id TEXT NOT NULL
) STRICT;

-- Events that were lost, by the name of the counter. No rows: nothing was lost.
CREATE TABLE loss (
    cause TEXT NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL CHECK (count > 0)
) STRICT, WITHOUT ROWID;

-- What was accessed. path is what the process asked for, absolute in the container; errno 0 means success;
-- pid, comm, exe and offset_ns (from the start) belong to the first access; count includes duplicates.
CREATE TABLE access (
    path BLOB NOT NULL CHECK (length(path) BETWEEN 1 AND 65536),
    kind TEXT NOT NULL,
    errno INTEGER NOT NULL CHECK (errno BETWEEN 0 AND 4095),
    pid INTEGER NOT NULL CHECK (pid BETWEEN 0 AND 4294967295),
    comm BLOB NOT NULL CHECK (length(comm) <= 256),
    exe BLOB NOT NULL CHECK (length(exe) <= 65536),
    offset_ns INTEGER NOT NULL CHECK (offset_ns >= 0),
    count INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (path, kind, errno)
) STRICT, WITHOUT ROWID;
