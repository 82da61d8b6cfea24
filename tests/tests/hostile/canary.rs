//! A file of the host with a random content, which must never be in an output.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use slim_tests::{Run, Scratch};

/// A file of the host that must stay there.
pub(crate) struct Canary {
    /// The directory that holds it alone.
    pub scratch: Scratch,
    /// Its path.
    pub path: String,
    secret: String,
}

impl Canary {
    pub(crate) fn plant() -> Result<Canary> {
        let mut random = [0; 16];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut random)?;
        let secret = format!("canary-{:032x}", u128::from_ne_bytes(random));
        let scratch = Scratch::new()?;
        let path = scratch.write("canary", format!("{secret}:x:0:0:{secret}:/:/bin/sh\n"))?;
        Ok(Canary { scratch, path, secret })
    }

    /// Its path by way of more parents than the host has.
    pub(crate) fn relative(&self) -> String {
        format!("{}{}", "../".repeat(40), self.path.trim_start_matches('/'))
    }

    /// Neither what slim said nor what it wrote holds the secret.
    pub(crate) fn is_absent(&self, runs: &[&Run], outputs: &Path) -> Result<()> {
        let holds =
            |bytes: &[u8]| bytes.windows(self.secret.len()).any(|part| part == self.secret.as_bytes());
        for run in runs {
            ensure!(!holds(&run.stdout) && !holds(run.stderr.as_bytes()), "the canary sings: {run}");
        }
        let mut folders = vec![outputs.to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        files += 1;
                        ensure!(!holds(&fs::read(entry.path())?), "the canary sings in {:?}", entry.path());
                    }
                }
            }
        }
        ensure!(files > 0, "no output to look into");
        Ok(())
    }
}
