//! rpm: known to be there, not read.
//!
//! Its database is SQLite, Berkeley DB or ndb with binary headers inside; slim says that it cannot tell owners
//! instead of guessing them.

use super::{Manager, Reader};

/// Database files of rpm 4 to 6 (`_dbpath` `/var/lib/rpm` or `/usr/lib/sysimage/rpm`).
const DATABASES: [&str; 6] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages.db",
    "/var/lib/rpm/Packages",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/Packages",
];

pub(super) fn read(reader: &mut Reader<'_>) {
    let found = DATABASES.iter().find_map(|path| reader.entry(path.as_bytes()));
    reader.found.unreadable.extend(found.map(|path| (Manager::Rpm, path)));
}
